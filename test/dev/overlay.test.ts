import assert from 'node:assert/strict'
import { it } from 'node:test'
import { allowOverlay, withOverlay } from '../../dev/overlay.ts'
import { call } from '../../protocol/contract/call.ts'

const HASH = "'unsafe-hashes' 'sha256-…'"

for (const [what, given, expected] of [
  ['that forbids all', "default-src 'none'", `default-src 'none'; frame-src 'self'; style-src-attr ${HASH}`],
  [
    'of directives of its own, which are kept',
    "default-src https:; frame-src https://player.example; style-src 'self' 'nonce-abc'; script-src 'nonce-abc'",
    `default-src https:; frame-src https://player.example 'self'; style-src 'self' 'nonce-abc'; script-src 'nonce-abc'; style-src-attr 'self' 'nonce-abc' ${HASH}`,
  ],
  ['that allows both', "frame-src 'self'; style-src 'unsafe-inline'", "frame-src 'self'; style-src 'unsafe-inline'"],
  ['of neither', "frame-ancestors 'none'; base-uri 'self';", "frame-ancestors 'none'; base-uri 'self'"],
  [
    'whose frames are ruled by child-src, and where a directive that comes twice counts once',
    "Child-Src 'none'; child-src https:; style-src *",
    `Child-Src 'none'; child-src https:; style-src *; frame-src 'self'; style-src-attr * ${HASH}`,
  ],
] as const) {
  it(`the frame and its style are allowed by a policy ${what}`, () => {
    assert.equal(allowOverlay(given).replaceAll(/'sha256-[^']+'/g, "'sha256-…'"), expected)
  })
}

it('each policy of a page allows its overlay', async () => {
  const page = await call((environ, startResponse) =>
    withOverlay(
      (_, start) => {
        start('200 OK', [
          ['Content-Type', 'text/html'],
          ['Content-Security-Policy', "frame-src 'none', default-src 'none'"],
          ['content-security-policy', "child-src 'none'"],
        ])
        return [Buffer.from('page')]
      },
      environ,
      startResponse,
    ),
  )
  assert.match(page.text, /^page\n<iframe /)
  const policies = page.headers.filter(([name]) => name.toLowerCase() === 'content-security-policy')
  const [first, second] = policies.map(([, value]) => value)
  assert.match(
    first!,
    /^frame-src 'self', default-src 'none'; frame-src 'self'; style-src-attr 'unsafe-hashes' 'sha256-/,
  )
  assert.equal(second, "child-src 'none'; frame-src 'self'")
})
