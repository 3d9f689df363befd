-- wrk: each request has another query and other fields than the one before, as those of a browser have.
local count = 0
request = function()
   count = count + 1
   wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"
   wrk.headers["Accept"] = "text/html,application/xhtml+xml;q=0." .. (count % 10)
   wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
   wrk.headers["Accept-Language"] = "en-GB,en;q=0.5"
   wrk.headers["Connection"] = "keep-alive"
   wrk.headers["Cookie"] = "session=" .. (count * 7919)
   wrk.headers["Referer"] = "http://localhost/page" .. count
   return wrk.format("GET", wrk.path .. "?n=" .. count)
end
