-- KEYS: events, their bytes. Answers the oldest event.
local event = redis.call('RPOP', KEYS[1])
if not event then
    return {}
end
redis.call('DECRBY', KEYS[2], #event)
return { event }
