/** The pages of application.ts for Deno.serve. Argument: port. Run by Deno, so it imports nothing from Node. */

interface Deno {
  readonly args: readonly string[]
  serve(
    options: { readonly hostname: string; readonly port: number; onListen(): void },
    handler: (request: Request) => Response,
  ): unknown
}
const deno = (globalThis as unknown as { readonly Deno: Deno }).Deno

const bodies: Record<string, Uint8Array<ArrayBuffer>> = {
  '/': new TextEncoder().encode('Hello world!\n'),
  '/10KiB': new Uint8Array(10 * 1024).fill(120),
  '/1MiB': new Uint8Array(1024 * 1024).fill(120),
}

deno.serve({ hostname: '127.0.0.1', port: Number(deno.args[0]), onListen() {} }, (request) => {
  const body = bodies[request.url.slice(request.url.indexOf('/', 8))]
  if (body === undefined) return new Response(null, { status: 404 })
  return new Response(body, { headers: { 'Content-Type': 'text/plain', 'Content-Length': String(body.length) } })
})
