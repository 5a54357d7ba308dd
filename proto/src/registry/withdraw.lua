-- Removes the record of a node, if it is of the run that asks. One that tells no run belongs to nobody and goes too.
-- KEYS: node.
-- ARGV: incarnation.
local record = redis.call('GET', KEYS[1])
if not record then
    return { 'absent' }
end
local read, fields = pcall(cjson.decode, record)
local incarnation = read and type(fields) == 'table' and fields.incarnation
if type(incarnation) == 'string' and incarnation ~= ARGV[1] then
    return { 'other' }
end
redis.call('DEL', KEYS[1])
return { 'withdrawn' }
