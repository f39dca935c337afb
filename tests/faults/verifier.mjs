// The independent verifier: jose (panva), which knows nothing of us but the addresses of JWK Sets. One JSON request per line of standard
// input, {url, tokens, issuer, audience}; one answer per line, {failed: ["why", ...]}.
//
// The cache is the one that jose brings, set as short as the flag says, and it is never refreshed out of turn: a key that is not in the
// cached set fails its token.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

// Node 20 calls Ed25519 experimental, once per process
process.removeAllListeners('warning')

const [tools, cache] = process.argv.slice(2)
const jose = await import(pathToFileURL(createRequire(`${tools}/package.json`).resolve('jose')))
const cacheMaxAge = Number(cache)
const sets = new Map()

function keysOf(url) {
  if (!sets.has(url)) {
    const options = { cacheMaxAge, cooldownDuration: cacheMaxAge, timeoutDuration: 10_000 }
    sets.set(url, jose.createRemoteJWKSet(new URL(url), options))
  }
  return sets.get(url)
}

async function verify({ url, tokens, issuer, audience }) {
  const keys = keysOf(url)
  const failed = []
  for (const token of tokens) {
    try {
      await jose.jwtVerify(token, keys, { issuer, audience, algorithms: ['ES256', 'EdDSA', 'Ed25519'] })
    } catch (error) {
      const { kid } = jose.decodeProtectedHeader(token)
      failed.push(`${kid} at ${url}: ${error.code ?? error.name}: ${error.message}`)
    }
  }
  return { failed }
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await verify(JSON.parse(line))
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
