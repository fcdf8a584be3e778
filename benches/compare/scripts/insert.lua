-- KEYS: row, index. ARGV: id, then fields and values. Answers 1 created, 2 replaced.
local existed = redis.call('EXISTS', KEYS[1])
if existed == 1 then
    redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('SADD', KEYS[2], ARGV[1])
return existed + 1
