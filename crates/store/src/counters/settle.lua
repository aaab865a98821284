-- Changes what was taken. One change per key; ARGV per key: 'r', an id, '', '' for one that does not run any more, or
-- 'w', the window's span in microseconds, the bucket, a difference: less is taken out of that bucket, more is put into the present one.
local BUCKETS = 1024
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
for i, key in ipairs(KEYS) do
  local at = 1 + (i - 1) * 4
  if ARGV[at] == 'r' then
    redis.call('ZREM', key, ARGV[at + 1])
  else
    local span, bucket, difference = tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
    if difference < 0 then
      local held = tonumber(redis.call('HGET', key, bucket)) or 0
      local less = math.min(held, -difference)
      if less > 0 then
        redis.call('HINCRBY', key, bucket, -less)
        redis.call('HINCRBY', key, 'n', -less)
      end
    else
      local width = math.max(1, math.ceil(span / BUCKETS))
      local here = math.max(math.floor(now / width), tonumber(redis.call('HGET', key, 'l')) or 0)
      redis.call('HINCRBY', key, here, difference)
      redis.call('HINCRBY', key, 'n', difference)
      redis.call('HSETNX', key, 'o', here)
      redis.call('HSET', key, 'l', here)
      redis.call('PEXPIRE', key, math.ceil((span + 2 * width) / 1000))
    end
  end
end
return 1
