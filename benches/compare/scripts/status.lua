-- KEYS: row. ARGV: the new status. Answers 1 done, 0 not allowed, -2 no such row.
local row = redis.call('HMGET', KEYS[1], 'status', 'started_at', 'finished_at')
local old, new = row[1], ARGV[1]
if not old then
    return -2
end
if old == new then
    return 1
end
local ends = new == 'succeeded' or new == 'failed' or new == 'canceled'
if not (old == 'enqueued' and (ends or new == 'processing') or old == 'processing' and ends) then
    return 0
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if new == 'processing' and not row[2] then
    redis.call('HSET', KEYS[1], 'status', new, 'started_at', now)
elseif ends and not row[3] then
    redis.call('HSET', KEYS[1], 'status', new, 'finished_at', now)
else
    redis.call('HSET', KEYS[1], 'status', new)
end
return 1
