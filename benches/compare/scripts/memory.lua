-- KEYS: index. ARGV: prefix of the rows' keys. Answers the number of rows and the bytes that they take.
local ids = redis.call('SMEMBERS', KEYS[1])
local bytes = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) or 0
for _, id in ipairs(ids) do
    bytes = bytes + (redis.call('MEMORY', 'USAGE', ARGV[1] .. id) or 0)
end
return { #ids, bytes }
