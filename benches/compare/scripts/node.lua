-- KEYS: row. ARGV: node, number. Answers 1 done, -2 no such row.
local text = redis.call('HGET', KEYS[1], 'node_tasks')
if not text then
    return -2
end
local nodes = cjson.decode(text)
nodes[ARGV[1]] = tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'node_tasks', cjson.encode(nodes))
return 1
