-- Makes certificates for the servers of the specs, with openssl, in a folder of their own.
local certificates = {}

local script = [[
set -e
cd %s
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $new -days 2 -subj /CN=root -keyout root.key -out root.crt
sign() { # sign NAME ISSUER EXTENSION
  openssl req $new -subj /CN=$1 -keyout $1.key -out $1.csr
  echo "$3" >$1.ext
  openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
}
sign localhost root subjectAltName=DNS:localhost
sign intermediate root basicConstraints=CA:TRUE
sign chained intermediate subjectAltName=DNS:localhost
]]

-- Returns the folder. `root.crt` is the authority; it signs `localhost`, and its `intermediate`
-- signs `chained`. Each has a .crt and a .key.
function certificates.make()
  local pipe = assert(io.popen("mktemp -d"))
  local dir = pipe:read("*l")
  pipe:close()
  local file = assert(io.open(dir .. "/make.sh", "w"))
  file:write(script:format(dir))
  file:close()
  local done = os.execute(("sh %s/make.sh >%s/output 2>&1"):format(dir, dir))
  assert(done == true or done == 0, "openssl failed: see " .. dir .. "/output")
  return dir
end

function certificates.remove(dir)
  os.execute("rm -r " .. dir)
end

return certificates
