-- KEYS: row. Answers its fields and values.
return redis.call('HGETALL', KEYS[1])
