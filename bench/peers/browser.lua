-- The requests of one round: a browser's header set, and a body when one is asked for. Arguments: method, body bytes.
-- At the end it prints one line of JSON with what wrk measured (wrk's own text rounds too much to be read back).

function init(args)
  wrk.method = args[1] or "GET"
  local size = tonumber(args[2] or "0")
  wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
  wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
  wrk.headers["Accept-Language"] = "en-US,en;q=0.5"
  wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
  wrk.headers["Referer"] = "http://localhost/previous/page"
  wrk.headers["Cookie"] = "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"
  wrk.headers["Upgrade-Insecure-Requests"] = "1"
  wrk.headers["Sec-Fetch-Dest"] = "document"
  wrk.headers["Sec-Fetch-Mode"] = "navigate"
  wrk.headers["Sec-Fetch-Site"] = "same-origin"
  wrk.headers["Sec-Fetch-User"] = "?1"
  wrk.headers["Priority"] = "u=0, i"
  if size > 0 then
    wrk.headers["Content-Type"] = "application/octet-stream"
    wrk.body = string.rep("x", size)
  end
end

function done(summary, latency, requests)
  io.write(string.format(
    'RESULT {"requests":%d,"bytes":%d,"microseconds":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.status, summary.errors.timeout))
end
