-- KEYS: index. ARGV: prefix of the rows' keys, how many. Answers the newest rows as pairs of id and fields.
local ids = redis.call('SMEMBERS', KEYS[1])
local created = {}
for _, id in ipairs(ids) do
    created[id] = tonumber(redis.call('HGET', ARGV[1] .. id, 'created_at')) or 0
end
table.sort(ids, function(a, b)
    if created[a] ~= created[b] then
        return created[a] > created[b]
    end
    return a < b
end)
local page = {}
for place = 1, math.min(tonumber(ARGV[2]), #ids) do
    page[place] = { ids[place], redis.call('HGETALL', ARGV[1] .. ids[place]) }
end
return page
