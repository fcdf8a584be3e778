-- KEYS: entry. ARGV: its name, hash of the body, task, life. Answers what it is, and the task on record.
local entry = redis.call('HMGET', KEYS[1], 'body_sha256', 'miroir_task_id', 'state')
if entry[1] then
    if entry[1] ~= ARGV[2] then
        return { 'mismatch', entry[2] }
    end
    if entry[3] == 'inflight' then
        return { 'inflight', entry[2], redis.call('PTTL', KEYS[1]) }
    end
    return { 'replay', entry[2] }
end
local time = redis.call('TIME')
local expires = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4])
redis.call('HSET', KEYS[1], 'key', ARGV[1], 'body_sha256', ARGV[2], 'miroir_task_id', ARGV[3],
    'expires_at', expires)
redis.call('PEXPIREAT', KEYS[1], expires)
return { 'new', ARGV[3] }
