-- KEYS: runs. ARGV: time, run, how many to keep. Answers how many there are, and how many were trimmed.
redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local trimmed = redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[3] - 1)
return { redis.call('ZCARD', KEYS[1]), trimmed }
