-- wrk: a JSON document of 10 KB, a list of 20 records: what the application does with it is not what is compared.
local records = {}
for number = 1, 20 do
   records[number] = string.format('{"id":%d,"name":"record %04d","tags":["a","b","c"],"text":"%s"}', number, number, string.rep("x", 452))
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = "[" .. table.concat(records, ",") .. "]"
