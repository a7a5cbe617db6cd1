/** uwsgi bytes written by hand, so that a decoder is not tested with its own encoder. */

/** `variables`: flat name, value…. */
export function packet(variables: readonly string[], modifier1: number = 0, modifier2: number = 0): Buffer {
  const parts: Buffer[] = []
  for (const text of variables) {
    const bytes = Buffer.from(text, 'latin1')
    parts.push(Buffer.of(bytes.length & 0xff, bytes.length >> 8), bytes)
  }
  const payload = Buffer.concat(parts)
  return Buffer.concat([Buffer.of(modifier1, payload.length & 0xff, payload.length >> 8, modifier2), payload])
}

/** The bytes of nginx 1.22 with Debian's `uwsgi_params` for `curl http://localhost:8080/hello%20there?a=1`. */
export const nginxGet: readonly string[] = [
  'QUERY_STRING',
  'a=1',
  'REQUEST_METHOD',
  'GET',
  'CONTENT_TYPE',
  '',
  'CONTENT_LENGTH',
  '',
  'REQUEST_URI',
  '/hello%20there?a=1',
  'PATH_INFO',
  '/hello there',
  'DOCUMENT_ROOT',
  '/usr/share/nginx/html',
  'SERVER_PROTOCOL',
  'HTTP/1.1',
  'REQUEST_SCHEME',
  'http',
  'REMOTE_ADDR',
  '127.0.0.1',
  'REMOTE_PORT',
  '58834',
  'SERVER_PORT',
  '8080',
  'SERVER_NAME',
  '',
  'HTTP_HOST',
  'localhost:8080',
  'HTTP_USER_AGENT',
  'curl/7.88.1',
  'HTTP_ACCEPT',
  '*/*',
]

/** The same for a chunked upload, which nginx buffers and sends with a length. */
export function nginxPost(length: number): string[] {
  return [
    'QUERY_STRING',
    '',
    'REQUEST_METHOD',
    'POST',
    'CONTENT_TYPE',
    'application/x-www-form-urlencoded',
    'CONTENT_LENGTH',
    String(length),
    'REQUEST_URI',
    '/form',
    'PATH_INFO',
    '/form',
    'SERVER_PROTOCOL',
    'HTTP/1.1',
    'REQUEST_SCHEME',
    'https',
    'HTTPS',
    'on',
    'REMOTE_ADDR',
    '192.0.2.7',
    'REMOTE_PORT',
    '40000',
    'SERVER_PORT',
    '443',
    'SERVER_NAME',
    'example.org',
    'HTTP_HOST',
    'example.org',
    'HTTP_TRANSFER_ENCODING',
    'chunked',
    'HTTP_CONTENT_TYPE',
    'application/x-www-form-urlencoded',
    'HTTP_CONTENT_LENGTH',
    String(length),
  ]
}

/** The value of `name` in a flat list. */
export function variable(variables: readonly string[], name: string): string | undefined {
  for (let i = variables.length - 2; i >= 0; i -= 2) if (variables[i] === name) return variables[i + 1]
  return undefined
}
