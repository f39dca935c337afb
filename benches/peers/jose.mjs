// Node's jose (panva) in a loop: one JSON request per line of standard input, one JSON answer per line of standard
// output. A loop answers how many operations it did and the CPU time of this whole process meanwhile, threads included.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node 20 calls Ed25519 experimental, once per process
process.removeAllListeners('warning')

const tools = pathToFileURL(`${process.argv[2]}/`)
const resolve = createRequire(new URL('package.json', tools)).resolve
const jose = await import(pathToFileURL(resolve('jose')))
const { version } = createRequire(import.meta.url)(fileURLToPath(new URL('node_modules/jose/package.json', tools)))

const bytes = (text) => new TextEncoder().encode(text)

// Each gives the operation that is repeated; keys are imported once, as a careful caller does it.
const operations = {
  async sign({ alg, jwk, claims }) {
    const key = await jose.importJWK(jwk, alg)
    const payload = JSON.parse(claims)
    return () => new jose.SignJWT(payload).setProtectedHeader({ alg, typ: 'at+jwt' }).sign(key)
  },

  async verify({ alg, jwk, claims, public_jwk, audience }) {
    const token = await (await operations.sign({ alg, jwk, claims }))()
    const key = await jose.importJWK(public_jwk, alg)
    return () => jose.jwtVerify(token, key, { algorithms: [alg], audience })
  },

  async encrypt({ alg, public_jwk, payload }) {
    const key = await jose.importJWK(public_jwk, alg)
    const plaintext = bytes(payload)
    return () => new jose.CompactEncrypt(plaintext).setProtectedHeader({ alg, enc: 'A256GCM' }).encrypt(key)
  },

  async decrypt({ alg, jwk, public_jwk, payload }) {
    const token = await (await operations.encrypt({ alg, public_jwk, payload }))()
    const key = await jose.importJWK(jwk, alg)
    return () => jose.compactDecrypt(token, key)
  },

  // What a token endpoint does: an access token, an ID token with the hash of it, a refresh token, and the ID token
  // encrypted for the client.
  async token_request({ alg, jwk, claims, encryption_alg, encryption_jwk }) {
    const key = await jose.importJWK(jwk, alg)
    const recipient = await jose.importJWK(encryption_jwk, encryption_alg)
    const payload = JSON.parse(claims)
    const sign = (more, typ) => new jose.SignJWT({ ...payload, ...more }).setProtectedHeader({ alg, typ }).sign(key)
    const hash = async (token) =>
      jose.base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes(token))).subarray(0, 16))
    return async () => {
      const access = await sign({}, 'at+jwt')
      const id = await sign({ at_hash: await hash(access) }, 'JWT')
      const refresh = await sign({}, 'JWT')
      const encrypted = await new jose.CompactEncrypt(bytes(id))
        .setProtectedHeader({ alg: encryption_alg, enc: 'A256GCM', cty: 'JWT' })
        .encrypt(recipient)
      return [access, refresh, encrypted]
    }
  },
}

const IN_FLIGHT = 8
let prepared

async function loop(seconds) {
  const end = performance.now() + seconds * 1000
  let done = 0
  const caller = async () => {
    do {
      await prepared()
      done += 1
    } while (performance.now() < end)
  }
  const before = process.cpuUsage()
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
  const { user, system } = process.cpuUsage(before)
  return { done, cpu_us: user + system }
}

const answers = {
  versions: () => ({ node: process.version.slice(1), jose: version }),
  async prepare(request) {
    prepared = await operations[request.operation](request)
    // the optimiser has seen it before it is measured
    for (let i = 0; i < request.warm; i += 1) await prepared()
    return {}
  },
  loop: ({ seconds }) => loop(seconds),
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = await answers[request.ask](request)
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
