/** Request bodies: JSON, forms, text and bytes, valid and invalid. */

import { gzipSync } from 'node:zlib'
import type { Fields, RequestOptions } from '../../support/client.ts'
import { type Case, one } from '../shape.ts'

function post(target: string, type: string, body: string | Uint8Array, headers: Fields = []): RequestOptions {
  return { method: 'POST', target, body, headers: [['Content-Type', type], ...headers] }
}

const json = (body: string | Uint8Array, headers?: Fields): RequestOptions =>
  post('/json', 'application/json', body, headers)
const form = (body: string | Uint8Array): RequestOptions => post('/form', 'application/x-www-form-urlencoded', body)

export const bodyCases: readonly Case[] = [
  one('JSON', json('{"a":1,"b":["x",null],"c":{"d":true}}'), 200),
  one('JSON in UTF-8', json('{"é":"€😀"}'), 200),
  one('JSON with a charset', post('/json', 'application/json; charset=utf-8', '{"a":"é"}'), 200),
  one('JSON in chunks', { ...json('{"chunked":true}'), chunked: true }, 200),
  one('An empty JSON object', json('{}'), 200),
  one('A JSON array', json('[1,2,3]'), 200),
  one('JSON that is malformed', json('{"a":'), 400),
  one('JSON that is a bare word', json('nonsense'), 400),
  one('JSON with __proto__', json('{"__proto__":{"a":1},"b":2}'), {}),
  one('A JSON body of nothing', json(''), {}),
  one('JSON that is too large', json(`{"a":"${'x'.repeat(30_000)}"}`), 413),
  one('JSON in chunks that is too large', { ...json(`{"a":"${'x'.repeat(30_000)}"}`), chunked: true }, 413),
  one('JSON of another type', post('/json', 'text/plain', '{"a":1}'), {}),
  one('JSON of no type', { method: 'POST', target: '/json', body: '{"a":1}' }, {}),
  one('JSON in gzip', json(gzipSync('{"zipped":true}'), [['Content-Encoding', 'gzip']]), {}),
  one('JSON in a coding that nobody knows', json('{"a":1}', [['Content-Encoding', 'odd']]), {}),
  {
    title: 'JSON that comes byte by byte',
    async run(peer) {
      const client = await peer.connect()
      const body = '{"slow":"é"}'
      const sent = client.request({
        ...json('stream'),
        body: 'stream',
        headers: [['Content-Type', 'application/json']],
      })
      for (const byte of Buffer.from(body)) await sent.send(Uint8Array.of(byte))
      sent.finish()
      const { status, body: answered, complete } = await sent.whole()
      return { status, body: answered.toString(), complete }
    },
  },
  one('A form', form('a=1&b=two'), 200),
  one('A form with escapes', form('q=a%20b+c&%C3%A9=%E2%82%AC'), 200),
  one('A form with repeated and bracketed names', form('a=1&a=2&b[c]=3&d[]=4&d[]=5'), 200),
  one('A form of nothing', form(''), {}),
  one('A form that is too large', form(`a=${'x'.repeat(30_000)}`), 413),
  one('A form in chunks', { ...form('a=chunked'), chunked: true }, 200),
  one('Text', post('/text', 'text/plain', 'just text é'), 200),
  one('Text in Latin-1', post('/text', 'text/plain; charset=iso-8859-1', Buffer.from('caf\xe9', 'latin1')), {}),
  one(
    'Bytes come back as they went',
    post('/bytes', 'application/octet-stream', Buffer.from([0, 1, 255, 13, 10])),
    200,
  ),
  one('300 KB come back', post('/bytes', 'application/octet-stream', Buffer.alloc(300_000, 'abc')), 200),
  one(
    '300 KB in chunks come back',
    { ...post('/bytes', 'application/x', Buffer.alloc(300_000, 'xyz')), chunked: true },
    200,
  ),
  one('A POST without a body', { method: 'POST', target: '/any' }, 200),
  one('A POST with a Content-Length of 0', { method: 'POST', target: '/any', headers: [['Content-Length', '0']] }, 200),
  one('A body that nobody reads', { method: 'POST', target: '/any', body: 'x'.repeat(1000) }, {}),
  one('A GET with a body', { method: 'GET', target: '/json', body: 'unexpected' }, 200),
]

const boundary = '----test-boundary'

/** A part of a multipart body. */
export function part(name: string, content: string | Buffer, filename?: string, type?: string): Buffer {
  const head = [
    `Content-Disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}`,
    ...(type ? [`Content-Type: ${type}`] : []),
  ]
  return Buffer.concat([
    Buffer.from(`--${boundary}\r\n${head.join('\r\n')}\r\n\r\n`),
    Buffer.from(content as string),
    Buffer.from('\r\n'),
  ])
}

const end = Buffer.from(`--${boundary}--\r\n`)

export function multipart(
  target: string,
  parts: readonly Buffer[],
  options: Partial<RequestOptions> = {},
): RequestOptions {
  return {
    ...post(target, `multipart/form-data; boundary=${boundary}`, Buffer.concat([...parts, end])),
    ...options,
  }
}

const binary = Buffer.from(Array.from({ length: 150_000 }, (_, at) => (at * 31) & 0xff))

function uploads(target: string): readonly [title: string, request: RequestOptions][] {
  return [
    ['one file', multipart(target, [part('file', 'content', 'a.txt', 'text/plain')])],
    [
      'a file between fields',
      multipart(target, [part('a', '1'), part('file', 'x', 'b.bin', 'image/png'), part('b', 'é')]),
    ],
    ['two files', multipart(target, [part('file', 'one', '1.txt'), part('file', 'two', '2.txt')])],
    ['fields alone', multipart(target, [part('a', '1'), part('a', '2'), part('b', '')])],
    ['an empty file', multipart(target, [part('file', '', 'empty.txt', 'text/plain')])],
    ['150 KB of bytes', multipart(target, [part('file', binary, 'binary.bin', 'application/octet-stream')])],
    ['chunks', multipart(target, [part('file', binary, 'binary.bin')], { chunked: true })],
    ['a name in UTF-8', multipart(target, [part('file', 'x', 'nämé €.txt', 'text/plain')])],
    ['a file that is too large', multipart(target, [part('file', Buffer.alloc(500_000, 'x'), 'large.bin')])],
    ['no parts', multipart(target, [])],
  ]
}

export const uploadCases: readonly Case[] = [
  ...uploads('/upload').map(([title, request]) => one(`An upload of ${title}`, request, {})),
  one(
    'An upload that ends in the middle of a part',
    {
      ...multipart('/upload', []),
      body: part('file', 'cut', 'a.txt').subarray(0, -5),
    },
    {},
  ),
  one('An upload without a boundary', post('/upload', 'multipart/form-data', 'x'), {}),
  one('An upload under a name that is not expected', multipart('/upload', [part('odd', 'x', 'a.txt')]), {}),
]

/** For frameworks that route to node's own request and response. */
export const busboyCases: readonly Case[] = [
  ...uploads('/raw/busboy').map(([title, request]) => one(`busboy gets ${title}`, request, 200)),
  one(
    'busboy is told of an upload that is cut',
    {
      ...multipart('/raw/busboy', []),
      body: part('file', 'cut', 'a.txt').subarray(0, -5),
    },
    {},
  ),
]
