-- What nobody has said again in time is not so any more, and what was long ago is forgotten. Answers whether there may be more.
-- ARGV, after those of the rules: how much of each at most.
local members = redis.call('ZRANGEBYSCORE', asserted, '-inf', now, 'LIMIT', 0, ARGV[7])
for _, member in ipairs(members) do
    gone(member)
end
local old = redis.call('ZRANGEBYSCORE', idle, '-inf', now - remembered, 'LIMIT', 0, ARGV[7])
for _, subject in ipairs(old) do
    forget(subject)
end
keep()
local most = tonumber(ARGV[7])
return { (#members == most or #old == most) and 'more' or 'done' }
