-- KEYS: events, their bytes, lifetime counters. ARGV: budget, event. Answers what became of it.
local budget, size = tonumber(ARGV[1]), #ARGV[2]
if size > budget then
    return redis.error_reply('ERR the event is larger than the budget')
end
local length = redis.call('LPUSH', KEYS[1], ARGV[2])
local bytes = redis.call('INCRBY', KEYS[2], size)
local dropped, dropped_bytes = 0, 0
while bytes - dropped_bytes > budget do
    dropped_bytes = dropped_bytes + #redis.call('RPOP', KEYS[1])
    dropped = dropped + 1
end
if dropped > 0 then
    redis.call('DECRBY', KEYS[2], dropped_bytes)
    redis.call('HINCRBY', KEYS[3], 'dropped', dropped)
    redis.call('HINCRBY', KEYS[3], 'dropped_bytes', dropped_bytes)
end
local last = redis.call('HINCRBY', KEYS[3], 'last_seq', 1)
return { 'accepted', 1, 'length', length - dropped, 'bytes', bytes - dropped_bytes,
    'dropped', dropped, 'dropped_bytes', dropped_bytes, 'last_seq', last }
