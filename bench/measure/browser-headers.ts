/** The header fields that a browser sends with a page: every load generator of the bench sends the same. */

export const browserHeaders: readonly string[] = [
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Accept-Language: en-US,en;q=0.5',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Referer: http://localhost/previous/page',
  'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1',
  'Upgrade-Insecure-Requests: 1',
  'Sec-Fetch-Dest: document',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Site: same-origin',
  'Sec-Fetch-User: ?1',
  'Priority: u=0, i',
]

/** The fields as `-H` options, which wrk and h2load share. */
export const headerOptions: readonly string[] = browserHeaders.flatMap((line) => ['-H', line])
