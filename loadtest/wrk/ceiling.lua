-- The bare HTTP ceiling: GET of one path, no work in Lua but this report at the end.
--
-- No request() and no response() here, so wrk sends one constant request and parses only the status line:
-- what it counts is what the service's HTTP layer and the loopback can carry.

function done(summary, latency, requests)
  local errors = summary.errors
  local directory = assert(os.getenv("HOLDFAST_CROWD_DIR"))
  local file = assert(io.open(directory .. "/done.json", "w"))
  file:write(string.format('{"requests":%d,"seconds":%.6f,"errors":%d}\n', summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
  file:close()
end
