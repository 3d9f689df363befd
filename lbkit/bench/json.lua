-- wrk: a JSON document of 10 KB: 100 records of a list.
local records = {}
for number = 1, 100 do
   records[number] = string.format('{"id":%d,"name":"record %04d","tags":["a","b","c"],"text":"%s"}', number, number, string.rep("x", 34))
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = "[" .. table.concat(records, ",") .. "]"
