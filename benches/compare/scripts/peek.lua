-- KEYS: events, lifetime counters. Answers the oldest event with its number.
local event = redis.call('LINDEX', KEYS[1], -1)
if not event then
    return {}
end
local last = tonumber(redis.call('HGET', KEYS[2], 'last_seq'))
return { { last - redis.call('LLEN', KEYS[1]) + 1, event } }
