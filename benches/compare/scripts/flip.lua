-- KEYS: row. ARGV: the new uid, how many old ones to keep. Answers the new version, -2 no such row.
local row = redis.call('HMGET', KEYS[1], 'kind', 'current_uid', 'version', 'history')
if not row[1] then
    return -2
end
if row[1] ~= 'single' then
    return redis.error_reply('ERR the alias has several targets')
end
local time = redis.call('TIME')
local history = cjson.decode(row[4])
table.insert(history, { uid = row[2], flipped_at = time[1] * 1000 + math.floor(time[2] / 1000) })
while #history > tonumber(ARGV[2]) do
    table.remove(history, 1)
end
local version = tonumber(row[3]) + 1
redis.call('HSET', KEYS[1], 'current_uid', ARGV[1], 'version', version, 'history', cjson.encode(history))
return version
