-- KEYS: lease. ARGV: holder, ttl. Answers whether it is renewed, the holder, and how long he has it.
local holder = redis.call('GET', KEYS[1])
if not holder then
    return { 0, false, 0 }
end
if holder ~= ARGV[1] then
    return { 0, holder, redis.call('PTTL', KEYS[1]) }
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 1, holder, tonumber(ARGV[2]) }
