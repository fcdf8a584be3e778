-- KEYS: counter. ARGV: limit, window. Answers allowed, remaining, retry after, reset.
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local used = tonumber(redis.call('GET', KEYS[1]) or 0)
local left = redis.call('PTTL', KEYS[1])
if used >= limit then
    if left == -1 then
        redis.call('PEXPIRE', KEYS[1], window)
        left = window
    end
    return { 0, 0, left, left }
end
used = redis.call('INCR', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], window)
    left = window
end
return { 1, limit - used, 0, left }
