-- KEYS: row, the claimed jobs by the end of the claim. ARGV: id, holder, token, outcome.
-- Answers 1 done, 0 claim lost, -1 finished already, -2 no such row.
local row = redis.call('HMGET', KEYS[1], 'state', 'claimed_by', 'claim_token', 'claim_expires_at')
local state = row[1]
if not state then
    return -2
end
if state == 'completed' or state == 'failed' then
    return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = (tonumber(row[4]) or 0) > now
if not (state == 'in_progress' and alive and row[2] == ARGV[2] and row[3] == ARGV[3]) then
    return 0
end
redis.call('HSET', KEYS[1], 'state', ARGV[4], 'finished_at', string.format('%.0f', now))
redis.call('HDEL', KEYS[1], 'claim_expires_at', 'error')
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
