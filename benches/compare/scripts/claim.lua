-- KEYS: the queued jobs by created_at, the claimed ones by the end of the claim, the set of the queued.
-- ARGV: prefix of the rows' keys, holder, ttl. Answers id, token and row of the oldest job that is to be had.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1)[1]
    or redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not id then
    return {}
end
local row = ARGV[1] .. id
local expires = string.format('%.0f', now + ARGV[3])
local token = redis.call('HINCRBY', row, 'claim_token', 1)
redis.call('HINCRBY', row, 'attempts', 1)
redis.call('HSET', row, 'state', 'in_progress', 'claimed_by', ARGV[2], 'claim_expires_at', expires)
redis.call('SREM', KEYS[3], id)
redis.call('ZREM', KEYS[1], id)
redis.call('ZADD', KEYS[2], expires, id)
return { { id, token, redis.call('HGETALL', row) } }
