-- KEYS: events, their bytes, lifetime counters. ARGV: number. Answers how many events that removes.
local length = redis.call('LLEN', KEYS[1])
local last = tonumber(redis.call('HGET', KEYS[3], 'last_seq') or 0)
local count = math.min(tonumber(ARGV[1]) - last + length, length)
if count <= 0 then
    return 0
end
local bytes = 0
for _, event in ipairs(redis.call('RPOP', KEYS[1], count)) do
    bytes = bytes + #event
end
redis.call('DECRBY', KEYS[2], bytes)
redis.call('HINCRBY', KEYS[3], 'acked', count)
return count
