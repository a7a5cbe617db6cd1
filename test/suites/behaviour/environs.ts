/** What an application sees of a request's head. */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { Suite } from './suite.ts'

export function environs({ holds, fetch, get, seen, variable }: Suite): void {
  describe('an environ', () => {
    holds('has the method, the script name and the protocol', [], async () => {
      const { variables } = await seen({ method: 'DELETE' })
      assert.equal(variables['REQUEST_METHOD'], 'DELETE')
      assert.equal(variables['SCRIPT_NAME'], '')
      assert.match(String(variables['SERVER_PROTOCOL']), /^HTTP\/1\.[01]$/)
      assert.equal(variables['GATEWAY_INTERFACE'], 'CGI/1.1')
      assert.equal(variables['wsgi.url_scheme'], 'http')
      assert.equal(variables['REQUEST_SCHEME'], 'http')
      assert.equal('HTTPS' in variables, false)
    })
    holds('tells who is asking whom', [], async () => {
      const { variables } = await seen()
      assert.match(String(variables['REMOTE_ADDR']), /^(127\.0\.0\.1|::1|unix:)?$/)
      assert.notEqual(variables['SERVER_NAME'], '')
      assert.match(String(variables['SERVER_PORT']), /^\d+$/)
    })
    holds('has methods that are known, and tokens that are not', ['any-method'], async () => {
      for (const method of ['PROPFIND', 'PATCH', 'QUERY', 'OPTIONS', 'PURGE']) {
        assert.equal(await variable('REQUEST_METHOD', { method }), method)
      }
    })
    holds('has the path percent-decoded once, as latin1', [], async () => {
      const { variables } = await seen({ target: '/environ/a%2541/%C3%A9%20b;c' })
      assert.equal(variables['PATH_INFO'], '/environ/a%41/\xc3\xa9 b;c')
    })
    holds('has the raw target beside it', ['raw-target'], async () => {
      const target = '/environ/./a//b/%7Eme/%2e%2e/x?q=%20%zz&&'
      const { variables } = await seen({ target })
      assert.equal(variables['REQUEST_URI'], target)
      assert.equal(variables['QUERY_STRING'], 'q=%20%zz&&')
      assert.equal(variables['PATH_INFO'], '/environ/./a//b/~me/../x')
    })
    holds('has a target with quotes and brackets of every kind as it was sent', ['raw-target'], async () => {
      const target = '/environ/"a"/<b>/{c}|^`?filter={"a":["b"]}&<x>'
      const { variables } = await seen({ target })
      assert.equal(variables['REQUEST_URI'], target)
      assert.equal(variables['PATH_INFO'], '/environ/"a"/<b>/{c}|^`')
      assert.equal(variables['QUERY_STRING'], 'filter={"a":["b"]}&<x>')
    })
    for (const target of ['/environ/a\\b', '/environ#a', '/environ/\xe9', '/environ?\xc3\xa9']) {
      holds(`is not made of ${JSON.stringify(target)}: 400`, ['framing'], async () => {
        assert.equal((await get(target)).status, 400)
      })
    }
    holds('has a Host with any character that a name may hold', ['raw-headers'], async () => {
      assert.equal(await variable('HTTP_HOST', { headers: [['Host', '0.0.0.0=5000']] }), '0.0.0.0=5000')
    })
    holds('has the query as it was sent, empty when there was none', [], async () => {
      assert.equal(await variable('QUERY_STRING', { target: '/environ?a=%41&b=+%2B' }), 'a=%41&b=+%2B')
      assert.equal(await variable('QUERY_STRING', { target: '/environ?' }), '')
      assert.equal(await variable('QUERY_STRING'), '')
      assert.equal(await variable('QUERY_STRING', { target: '/environ?a?b' }), 'a?b')
    })
    for (const target of ['/environ/%', '/environ/%4', '/environ/%zz', '/environ/%00']) {
      holds(`is not made of ${target}: 400`, [], async () => {
        assert.equal((await get(target)).status, 400)
      })
    }
    holds("has an absolute target's path", ['absolute-form'], async () => {
      const { variables } = await seen({ target: 'http://other.test/environ/a?b' })
      assert.equal(variables['PATH_INFO'], '/environ/a')
      assert.equal(variables['QUERY_STRING'], 'b')
      assert.equal(variables['REQUEST_URI'], 'http://other.test/environ/a?b')
    })
    holds("has an empty path for the target '*'", ['star'], async () => {
      const answer = await fetch({ method: 'OPTIONS', target: '*' })
      assert.equal(answer.body.toString(), 'no fixture at \n')
    })
    holds("has an empty path for OPTIONS of a host alone, which goes on as '*'", ['star'], async () => {
      const answer = await fetch({ method: 'OPTIONS', target: 'http://gantry.test' })
      assert.equal(answer.body.toString(), 'no fixture at \n')
    })
    holds('has repeated headers joined, cookies by semicolons', [], async () => {
      const { variables } = await seen({
        headers: [
          ['X-List', 'a'],
          ['Cookie', 'a=1'],
          ['x-list', 'b, c'],
          ['Cookie', 'b=2'],
          ['X-LIST', 'd'],
        ],
      })
      assert.equal(variables['HTTP_X_LIST'], 'a, b, c, d')
      assert.equal(variables['HTTP_COOKIE'], 'a=1; b=2')
    })
    holds('has header lines as they were sent', ['raw-headers'], async () => {
      const sent: [string, string][] = [
        ['hOst', 'gantry.test'],
        ['X-b', '1'],
        ['x-A', '2'],
        ['X-B', '3'],
      ]
      const { rawHeaders } = await seen({ headers: sent })
      // A proxy adds its own fields (X-Forwarded-For); the client's fields keep their order.
      assert.deepEqual(
        rawHeaders.filter(([name]) => /^(host|x-[ab])$/i.test(name)),
        sent,
      )
    })
    holds('has latin1 header values as they were sent', [], async () => {
      assert.equal(await variable('HTTP_X_LATIN', { headers: [['X-Latin', 'caf\xe9 \xff']] }), 'caf\xe9 \xff')
    })
    holds('has empty header values', ['empty-values'], async () => {
      assert.equal(await variable('HTTP_X_EMPTY', { headers: [['X-Empty', '']] }), '')
    })
    holds('drops headers whose name holds an underscore, and Proxy', [], async () => {
      const { variables, rawHeaders } = await seen({
        headers: [
          ['X-Real', 'dashed'],
          ['X_Real', 'shadow'],
          ['Proxy', 'http://evil.test'],
          ['__proto__', 'x'],
        ],
      })
      assert.equal(variables['HTTP_X_REAL'], 'dashed')
      assert.equal('HTTP_PROXY' in variables, false)
      assert.deepEqual(
        rawHeaders.filter(([name]) => /_|^proxy$/i.test(name)),
        [],
      )
    })
    holds('has nothing that a client says of itself in a forwarded field, under any name', [], async () => {
      const names = ['X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Prefix', 'X-Forwarded-User', 'X-Forwarded']
      const spellings = ['Forwarded', 'X-Real-IP', 'X_Forwarded_For', 'X-Forwarded_Proto', 'X.Forwarded.For']
      const told = await seen({ headers: [...names, ...spellings].map((name): [string, string] => [name, '6.6.6.6']) })
      assert.doesNotMatch(JSON.stringify(told), /6\.6\.6\.6/)
    })
    holds('has neither address nor scheme from a client that is not trusted', ['strangers'], async () => {
      const headers: [string, string][] = [
        ['x-forwarded-for', '6.6.6.6'],
        ['X-FORWARDED-FOR', '6.6.6.6, 6.6.6.7'],
        ['X-Forwarded-Proto', 'https'],
        ['Connection', 'X-Forwarded-For, X-Forwarded-Proto'],
      ]
      const found = await seen({ headers })
      assert.doesNotMatch(JSON.stringify(found), /6\.6\.6\.[67]/)
      assert.equal(found.variables['wsgi.url_scheme'], 'http')
      assert.equal('HTTPS' in found.variables, false)
      assert.notEqual(found.variables['HTTP_X_FORWARDED_PROTO'], 'https')
    })
    holds('takes headers that are called like properties of objects as headers', [], async () => {
      const { variables } = await seen({
        headers: [
          ['Constructor', 'a'],
          ['toString', 'b'],
        ],
      })
      assert.equal(variables['HTTP_CONSTRUCTOR'], 'a')
      assert.equal(variables['HTTP_TOSTRING'], 'b')
    })
    holds('has no hop-by-hop headers', [], async () => {
      const { variables } = await seen({
        headers: [
          ['TE', 'trailers'],
          ['Keep-Alive', 'timeout=5'],
          ['Proxy-Connection', 'keep-alive'],
          ['X-Kept', 'yes'],
        ],
      })
      const names = Object.keys(variables).filter((name) =>
        /_(TE|KEEP_ALIVE|PROXY_CONNECTION|CONNECTION|TRANSFER_ENCODING)$/.test(name),
      )
      assert.deepEqual(names, [])
      assert.equal(variables['HTTP_X_KEPT'], 'yes')
    })
    holds('has no headers that Connection names', ['nominated'], async () => {
      const { variables } = await seen({
        headers: [
          ['Connection', 'X-Private, close'],
          ['X-Private', 'secret'],
        ],
      })
      assert.equal('HTTP_X_PRIVATE' in variables, false)
      assert.equal('HTTP_CONNECTION' in variables, false)
    })
    holds("has the content's type and length under their own names", [], async () => {
      const { variables } = await seen({ method: 'POST', body: 'hello', headers: [['Content-Type', 'text/plain']] })
      assert.equal(variables['CONTENT_TYPE'], 'text/plain')
      assert.equal(variables['CONTENT_LENGTH'], '5')
      assert.equal('HTTP_CONTENT_TYPE' in variables || 'HTTP_CONTENT_LENGTH' in variables, false)
    })
    holds('has neither where the client sent none', [], async () => {
      const { variables } = await seen()
      assert.equal('CONTENT_TYPE' in variables || 'CONTENT_LENGTH' in variables, false)
    })
    holds('has no length for a chunked upload, and no word of the coding', ['chunked-upload'], async () => {
      const { variables } = await seen({ method: 'POST', body: 'hello', chunked: true })
      assert.equal('CONTENT_LENGTH' in variables || 'HTTP_TRANSFER_ENCODING' in variables, false)
    })
    holds('has 48 KiB of headers', ['large-head'], async () => {
      const headers = Array.from({ length: 12 }, (_, at): [string, string] => [`X-Long-${at}`, 'v'.repeat(4096)])
      assert.equal(await variable('HTTP_X_LONG_11', { headers }), 'v'.repeat(4096))
    })
    holds('has an id for each request', [], async () => {
      const [one, two] = [await seen(), await seen()]
      assert.match(one.requestId, /^[\w.-]{1,128}$/)
      assert.notEqual(one.requestId, two.requestId)
    })
  })
}
