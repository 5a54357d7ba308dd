-- Tells which texts are kept under these names.
-- KEYS: texts, times.
-- ARGV: names.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for _, name in ipairs(ARGV) do
    local until_ms = redis.call('ZSCORE', KEYS[2], name)
    local text = until_ms and tonumber(until_ms) > now and redis.call('HGET', KEYS[1], name)
    if text then
        answers[#answers + 1] = name
        answers[#answers + 1] = text
    end
end
return answers
