-- Takes a place under every bound, or under none. One bound per key.
-- ARGV: 'take' or 'look', an id, then per bound: 'w' or 'r', its limit, a span in microseconds, the amount.
-- A window 'w' is a hash of buckets, each a 1024th of the window, with their sum `n`, the oldest `o` and the last `l`. A bucket leaves
-- when its end has left the window, so no window ever holds more than its limit. What runs, 'r', is a set of ids with the ends of their leases.
-- Gives: the first full bound (0: none), the wait in microseconds, then per bound: used, until the first leaves, until all left, the bucket.
local BUCKETS = 1024
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local is_look = ARGV[1] == 'look'
local full, wait = 0, 0
local bounds = {}
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 4
  local b = { runs = ARGV[at] == 'r', limit = tonumber(ARGV[at + 1]), span = tonumber(ARGV[at + 2]), amount = tonumber(ARGV[at + 3]) }
  local needs = nil
  if b.runs then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    b.used = redis.call('ZCARD', key)
    if b.used + b.amount > b.limit then needs = 0 end
  else
    b.width = math.max(1, math.ceil(b.span / BUCKETS))
    b.count = math.ceil(b.span / b.width)
    b.here = math.floor(now / b.width)
    local kept = redis.call('HMGET', key, 'n', 'o', 'l')
    b.used = tonumber(kept[1]) or 0
    b.oldest = tonumber(kept[2]) or b.here
    b.last = tonumber(kept[3]) or b.here
    if b.used > 0 then b.here = math.max(b.here, b.last) end
    local alive = b.here - b.count
    if b.last < alive then b.used = 0 end
    while b.used > 0 do
      local held = tonumber(redis.call('HGET', key, b.oldest)) or 0
      if held > 0 and b.oldest >= alive then break end
      redis.call('HDEL', key, b.oldest)
      b.used = b.used - held
      if b.oldest >= b.last then break end
      b.oldest = b.oldest + 1
    end
    if b.used <= 0 then
      redis.call('DEL', key)
      b.used, b.oldest, b.last = 0, b.here, b.here
    end
    local over = b.used + b.amount - b.limit
    if over > 0 then
      needs = b.span
      local freed = 0
      for bucket = b.oldest, b.last do
        freed = freed + (tonumber(redis.call('HGET', key, bucket)) or 0)
        if freed >= over then
          needs = (bucket + b.count + 1) * b.width - now
          break
        end
      end
    end
  end
  if needs and (full == 0 or needs > wait) then full, wait = i, needs end
  bounds[i] = b
end
local out = { full, math.ceil(wait) }
for i, key in ipairs(KEYS) do
  local b = bounds[i]
  local takes = full == 0 and not is_look and b.amount > 0
  if b.runs then
    if takes then
      redis.call('ZADD', key, now + b.span, ARGV[2])
      redis.call('PEXPIRE', key, math.ceil(b.span / 1000))
      b.used = b.used + b.amount
    end
    out[#out + 1] = b.used
    for _ = 1, 3 do out[#out + 1] = 0 end
  else
    if takes then
      redis.call('HINCRBY', key, b.here, b.amount)
      b.used = b.used + b.amount
      b.last = b.here
    end
    if b.used > 0 then
      redis.call('HSET', key, 'n', b.used, 'o', b.oldest, 'l', b.last)
      redis.call('PEXPIRE', key, math.ceil((b.span + 2 * b.width) / 1000))
    end
    out[#out + 1] = b.used
    out[#out + 1] = b.used > 0 and (b.oldest + b.count + 1) * b.width - now or 0
    out[#out + 1] = b.used > 0 and (b.last + b.count + 1) * b.width - now or 0
    out[#out + 1] = b.here
  end
end
return out
