-- The method and the body of one round's requests. Arguments: method, body bytes.
-- At the end it prints one line of JSON with wrk's figures, since wrk's own text is rounded too much.

function init(args)
  wrk.method = args[1] or "GET"
  local size = tonumber(args[2] or "0")
  if size > 0 then
    wrk.headers["Content-Type"] = "application/octet-stream"
    wrk.body = string.rep("x", size)
  end
end

function done(summary, latency, requests)
  io.write(string.format(
    'RESULT {"requests":%d,"bytes":%d,"microseconds":%d,"p50":%d,"p99":%d,"p999":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.status, summary.errors.timeout))
end
