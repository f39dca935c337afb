// The Node peer: jose (panva). One JSON request per line of standard input, one JSON answer per line of standard
// output; README.md beside this file has the protocol and what each peer lacks.
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node 20 calls X25519 and Ed25519 experimental, once per process
process.removeAllListeners('warning')

const tools = new URL('../../.tools/node/', import.meta.url)
const resolve = createRequire(new URL('package.json', tools)).resolve
const jose = await import(pathToFileURL(resolve('jose')))
const { version } = createRequire(import.meta.url)(fileURLToPath(new URL('node_modules/jose/package.json', tools)))

const { encode, decode } = jose.base64url
const CURVES = { Ed25519: 'ed25519', X25519: 'x25519', Ed448: 'ed448', X448: 'x448' }

class BadRequest extends Error {}

function generate({ kty, crv, size }) {
  switch (kty) {
    case 'oct':
      return { kty, k: encode(randomBytes((size ?? 256) / 8)) }
    case 'RSA':
      return privateJwk('rsa', { modulusLength: size ?? 2048 })
    case 'EC':
      return privateJwk('ec', { namedCurve: crv })
    case 'OKP':
      return privateJwk(CURVES[crv])
    default:
      throw new BadRequest(`kty: ${kty} is none of oct, RSA, EC, OKP`)
  }
}

function privateJwk(type, options) {
  return generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' })
}

// Encryption and verification take the public half, whichever half the request holds.
function publicHalf(jwk) {
  if (jwk.kty === 'oct') return jwk
  const bare = jwk.d ? createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'jwk' }) : jwk
  return { ...bare, ...(jwk.kid && { kid: jwk.kid }), ...(jwk.alg && { alg: jwk.alg }) }
}

function header({ alg, enc, kid, header }) {
  return { alg, ...(enc && { enc }), ...(kid && { kid }), ...header }
}

const operations = {
  async sign(request) {
    const key = await jose.importJWK(request.jwk, request.alg)
    const token = await new jose.CompactSign(decode(request.payload)).setProtectedHeader(header(request)).sign(key)
    return { token }
  },

  async verify({ jwk, jwks, token, algs }) {
    const { alg } = jose.decodeProtectedHeader(token)
    const key = jwks ? jose.createLocalJWKSet(jwks) : await jose.importJWK(publicHalf(jwk), alg)
    const verified = await jose.compactVerify(token, key, { algorithms: algs })
    return { payload: encode(verified.payload), header: verified.protectedHeader }
  },

  async encrypt(request) {
    const key = await jose.importJWK(publicHalf(request.jwk), request.alg === 'dir' ? request.enc : request.alg)
    const token = await new jose.CompactEncrypt(decode(request.payload)).setProtectedHeader(header(request)).encrypt(key)
    return { token }
  },

  async decrypt({ jwk, token, algs, encs }) {
    const { alg, enc } = jose.decodeProtectedHeader(token)
    const key = await jose.importJWK(jwk, alg === 'dir' ? enc : alg)
    const opened = await jose.compactDecrypt(token, key, {
      keyManagementAlgorithms: algs,
      contentEncryptionAlgorithms: encs,
    })
    return { payload: encode(opened.plaintext), header: opened.protectedHeader }
  },

  async generate(request) {
    return { jwk: generate(request) }
  },

  async verify_jwks_url({ url, token, issuer, audience, typ, algs }) {
    const keys = jose.createRemoteJWKSet(new URL(url), { timeoutDuration: 5000 })
    const verified = await jose.jwtVerify(token, keys, { issuer, audience, typ, algorithms: algs })
    return { claims: verified.payload, header: verified.protectedHeader }
  },

  async capabilities() {
    return { peer: 'jose', version, ...(await probe()) }
  },
}

// What this peer can do is found by doing it: Node's version decides as much as the library's.
async function probe() {
  const found = { jws: [], alg: [], enc: [], curves: [], lacks: {} }
  const attempt = async (list, name, work) => {
    try {
      await work()
      found[list].push(name)
    } catch (error) {
      found.lacks[name] = error.message
    }
  }
  const payload = encode('probe')
  const roundTrip = async (alg, enc, jwk) => {
    const { token } = await operations.encrypt({ alg, enc, jwk, payload })
    await operations.decrypt({ token, jwk })
  }
  const rsa = generate({ kty: 'RSA' })
  const ec = generate({ kty: 'EC', crv: 'P-256' })
  const oct = (size) => generate({ kty: 'oct', size })

  const signers = {
    RS: () => rsa,
    PS: () => rsa,
    ES: (bits) => generate({ kty: 'EC', crv: bits === '512' ? 'P-521' : `P-${bits}` }),
    Ed: () => generate({ kty: 'OKP', crv: 'Ed25519' }),
    HS: (bits) => oct(Number(bits)),
  }
  for (const alg of ALGORITHMS.jws) {
    await attempt('jws', alg, async () => {
      const jwk = signers[alg.slice(0, 2)](alg.slice(2))
      const { token } = await operations.sign({ alg, jwk, payload })
      await operations.verify({ token, jwk, algs: [alg] })
    })
  }
  for (const alg of ALGORITHMS.alg) {
    const jwk = alg.startsWith('RSA') ? rsa : alg.startsWith('ECDH') ? ec : oct(Number(alg.slice(1, 4)) || 256)
    await attempt('alg', alg, () => roundTrip(alg, 'A256GCM', jwk))
  }
  for (const [enc, size] of Object.entries(ALGORITHMS.enc)) {
    await attempt('enc', enc, () => roundTrip('dir', enc, oct(size)))
  }
  for (const [crv, kty] of Object.entries(ALGORITHMS.curves)) {
    await attempt('curves', crv, () => roundTrip('ECDH-ES+A256KW', 'A256GCM', generate({ kty, crv })))
  }
  return found
}

// Kept equal to peer_protocol.py.
const ALGORITHMS = {
  jws: [
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'],
    ...['Ed25519', 'EdDSA', 'HS256', 'HS384', 'HS512'],
  ],
  alg: [
    ...['RSA-OAEP', 'RSA-OAEP-256', 'ECDH-ES', 'ECDH-ES+A128KW', 'ECDH-ES+A256KW'],
    ...['A128KW', 'A256KW', 'A128GCMKW', 'A256GCMKW', 'dir'],
  ],
  enc: {
    A128GCM: 128, A192GCM: 192, A256GCM: 256,
    'A128CBC-HS256': 256, 'A192CBC-HS384': 384, 'A256CBC-HS512': 512,
  },
  curves: { 'P-256': 'EC', 'P-384': 'EC', 'P-521': 'EC', X25519: 'OKP' },
}

function refusal(error) {
  if (error instanceof BadRequest || error instanceof SyntaxError) return { error: 'request', detail: error.message }
  // an unknown `crit` is a refused token, not something that this peer lacks
  const lacks =
    error.name === 'NotSupportedError' ||
    (error.code === 'ERR_JOSE_NOT_SUPPORTED' && !error.message.includes('Header Parameter is not recognized'))
  return { error: lacks ? 'unsupported' : 'failed', detail: error.message }
}

async function answer(line) {
  let id
  try {
    const request = JSON.parse(line)
    id = request.id
    const operation = Object.hasOwn(operations, request.op) && operations[request.op]
    if (!operation) throw new BadRequest(`op: ${request.op} is none of ${Object.keys(operations).join(', ')}`)
    return { id, ...(await operation(request)) }
  } catch (error) {
    return { id, ...refusal(error) }
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line.trim()) process.stdout.write(`${JSON.stringify(await answer(line))}\n`)
}
