-- Gives each source to whoever asks first, or has it.
-- KEYS: leases of sources.
-- ARGV: incarnation, ms to hold them.
local answers = {}
for index, key in ipairs(KEYS) do
    local holder = redis.call('GET', key)
    if holder and holder ~= ARGV[1] then
        answers[index] = 'other'
    else
        redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
        answers[index] = 'held'
    end
end
return answers
