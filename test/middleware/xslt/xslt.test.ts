import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { compress } from '../../../middleware/compress/compress.ts'
import { type XsltOptions, xslt } from '../../../middleware/xslt/xslt.ts'
import type { Application, Headers, Middleware } from '../../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../../protocol/contract/call.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { FakeClock } from '../../support/clock.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const xml: Headers = [['Content-Type', 'application/xml']]

function sheet(templates: string, top = ''): string {
  return `<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">${top}${templates}</xsl:stylesheet>`
}

const list = sheet(
  '<xsl:param name="who" select="\'nobody\'"/><xsl:template match="/"><html title="{$who}"><xsl:for-each select="list/item">' +
    '<p title="{@t}"><xsl:value-of select="."/></p></xsl:for-each><br/></html></xsl:template>',
)
const copy = sheet(
  '<xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy></xsl:template>',
  '<xsl:output method="xml" omit-xml-declaration="yes"/>',
)

function giving(body: string | Uint8Array, headers: Headers = xml, status = '200 OK'): Application {
  return (_, start) => {
    start(status, headers)
    return [Buffer.from(body as string)]
  }
}

/** One for each stylesheet: each has a thread, whose start takes most of the time. */
const made = new Map<string, Middleware>()

function shared(stylesheet: string, options: XsltOptions): Middleware {
  // Threads start slowly on a busy machine: tests that do not check the timeout have none.
  const timeless = { clock: new FakeClock(), ...options }
  if (Object.keys(options).length > 0 || stylesheet.startsWith('/')) return xslt(stylesheet, timeless)
  const known = made.get(stylesheet)
  if (known) return known
  const middleware = xslt(stylesheet, timeless)
  made.set(stylesheet, middleware)
  return middleware
}

function transformed(body: string | Uint8Array, stylesheet = list, options: XsltOptions = {}, headers: Headers = xml) {
  return call(shared(stylesheet, options)(giving(body, headers)))
}

describe('xslt', () => {
  it('transforms XML with its stylesheet, with the length and type of the result', async () => {
    const { status, text, header } = await transformed('<list><item t="1">a</item><item>b</item></list>', list, {}, [
      ...xml,
      ['ETag', '"x"'],
      ['Last-Modified', 'Sat, 21 Nov 2026 09:39:20 GMT'],
      ['Content-Length', '51'],
      ['X-Kept', 'yes'],
    ])
    assert.equal(status, 200)
    assert.equal(text, '<html title="nobody"><p title="1">a</p><p title="">b</p><br></html>')
    assert.equal(header('content-type'), 'text/html; charset=utf-8')
    assert.equal(header('content-length'), String(text.length))
    assert.deepEqual([header('etag'), header('last-modified'), header('x-kept')], [undefined, undefined, 'yes'])
  })

  it('escapes text of the document, also in attributes, and in each output method', async () => {
    const evil =
      '<list><item t="&quot;&gt;&lt;x&gt;">&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; <![CDATA[<b>]]></item></list>'
    for (const method of ['html', 'xml', 'xhtml']) {
      const { text } = await transformed(
        evil,
        list.replace('<xsl:param', `<xsl:output method="${method}" omit-xml-declaration="yes"/><xsl:param`),
      )
      assert.ok(text.includes('&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; &lt;b&gt;'), text)
      assert.ok(text.includes('title="&quot;&gt;&lt;x&gt;"'), text)
    }
    const copied = await transformed(evil, copy)
    assert.ok(copied.text.includes('&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; &lt;b&gt;'), copied.text)
  })

  it('lets no document end a script element of the stylesheet', async () => {
    const { text } = await transformed(
      '<a>&lt;/script&gt;&lt;script&gt;alert(1)</a>',
      sheet(
        '<xsl:template match="/"><html><script>x="<xsl:value-of select="a"/>"; if (1 &lt; 2) y()</script></html></xsl:template>',
      ),
    )
    assert.equal(text, '<html><script>x="\\u003c/script>\\u003cscript>alert(1)"; if (1 < 2) y()</script></html>')
  })

  it('writes text and XML as xsl:output says', async () => {
    const text = await transformed(
      '<a>x &lt; y</a>',
      sheet(
        '<xsl:template match="/"><xsl:value-of select="a"/></xsl:template>',
        '<xsl:output method="text" media-type="text/csv"/>',
      ),
    )
    assert.deepEqual([text.text, text.header('content-type')], ['x < y', 'text/csv; charset=utf-8'])
    const made = await transformed('<a/>', sheet('<xsl:template match="/"><o><e/></o></xsl:template>'))
    assert.deepEqual(
      [made.text, made.header('content-type')],
      ['<?xml version="1.0" encoding="UTF-8"?>\n<o><e/></o>', 'application/xml; charset=utf-8'],
    )
  })

  it("passes each request's parameters to the stylesheet", async () => {
    const application = xslt(list, { parameters: (environ) => ({ who: `${environ.PATH_INFO} "<x>` }) })(
      giving('<list/>'),
    )
    const answers = await Promise.all(['/a', '/b', '/c'].map((path) => call(application, { path })))
    assert.deepEqual(
      answers.map(({ text }) => text),
      ['/a', '/b', '/c'].map((path) => `<html title="${path} &quot;&lt;x&gt;"><br></html>`),
    )
  })

  it('reads the encoding from the bytes, the type or the declaration', async () => {
    const page = '<?xml version="1.0" encoding="iso-8859-1"?><list><item>é</item></list>'
    const cases: [Uint8Array, string][] = [
      [Buffer.from('<list><item>é</item></list>'), 'text/xml'],
      [Buffer.from('\uFEFF<list><item>é</item></list>'), 'text/xml; charset=iso-8859-1'],
      [Buffer.from(page, 'latin1'), 'application/xml'],
      [Buffer.from(page, 'utf8'), 'application/xml; charset="utf-8"'],
      [Buffer.from('\uFEFF<list><item>é</item></list>', 'utf16le'), 'application/xml'],
    ]
    for (const [bytes, type] of cases) {
      const { text } = await transformed(bytes, list, {}, [['Content-Type', type]])
      assert.equal(text, '<html title="nobody"><p title="">é</p><br></html>', type)
    }
  })

  it('passes the text of a document to the stylesheet, however it is written', async () => {
    const value = sheet(
      '<xsl:template match="/">[<xsl:value-of select="a"/>]</xsl:template>',
      '<xsl:output method="text"/>',
    )
    const cases: [string, string][] = [
      ['<a>x<!-- <c> -->y<?p d?>z</a>', '[xyz]'],
      ['<a>x<b>y</b><![CDATA[<q>&amp;]]>w</a>', '[xy<q>&amp;w]'],
      ['<a>&#233;&#x1F600;&amp;lt;</a>', '[é😀&lt;]'],
      ['<a x="/">a > b</a>', '[a > b]'],
    ]
    for (const [body, expected] of cases) assert.equal((await transformed(body, value)).text, expected)
  })

  it('passes other responses unchanged', async () => {
    const cases: [Headers, string][] = [
      [[['Content-Type', 'text/html']], '200 OK'],
      [[['Content-Type', 'image/svg+xml']], '200 OK'],
      [[...xml, ['Cache-Control', 'no-transform']], '200 OK'],
      [[...xml, ['Content-Range', 'bytes 0-3/9']], '206 Partial Content'],
      [[...xml, ['X-Accel-Redirect', '/lists/a.xml']], '200 OK'],
    ]
    for (const [headers, status] of cases) {
      const application = giving('<list/>', headers, status)
      const bare = await call(application)
      const { body, headers: fields } = await call(xslt(list)(application))
      assert.deepEqual([body, fields], [bare.body, bare.headers])
    }
    const feed = giving('<list/>', [['Content-Type', 'application/atom+xml']])
    const made = await call(xslt(list, { types: ['+xml'] })(feed))
    assert.equal(made.header('content-type'), 'text/html; charset=utf-8')
  })

  it('transforms only for clients that prefer HTML with negotiate, and sets Vary', async () => {
    const application = xslt(list, { negotiate: true })(giving('<list/>'))
    const cases: [string | undefined, string][] = [
      ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'text/html; charset=utf-8'],
      ['*/*', 'application/xml'],
      ['application/xml', 'application/xml'],
      ['text/html;q=0.1, application/xml', 'application/xml'],
      [undefined, 'application/xml'],
    ]
    for (const [accept, type] of cases) {
      const result = await call(application, accept === undefined ? {} : { headers: { Accept: accept } })
      assert.deepEqual([result.header('content-type'), result.header('vary')], [type, 'Accept'], accept)
    }
  })

  it('answers a HEAD with the fields of the GET, without a length', async () => {
    const application = giving('<list/>', [...xml, ['Content-Length', '7'], ['ETag', '"x"']])
    const { headers, body } = await call(xslt(list)(application), { method: 'HEAD' })
    assert.deepEqual([headers, body.length], [[['Content-Type', 'text/html; charset=utf-8']], 0])
  })

  it('requests no content coding from the application, and leaves compression to middleware outside', async () => {
    let asked: unknown
    const application: Application = (environ, start) => {
      asked = environ['HTTP_ACCEPT_ENCODING']
      start('200 OK', xml)
      return [Buffer.from(`<list>${'<item>a</item>'.repeat(200)}</list>`)]
    }
    const result = await call(compress()(xslt(list)(application)), { headers: { 'Accept-Encoding': 'gzip' } })
    assert.deepEqual([asked, result.header('content-encoding')], [undefined, 'gzip'])
  })

  it('reads a stylesheet from a file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-xslt-'))
    try {
      await writeFile(join(directory, 'list.xsl'), `\uFEFF${list}`)
      const { text } = await transformed('<list/>', join(directory, 'list.xsl'))
      assert.equal(text, '<html title="nobody"><br></html>')
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it('refuses an invalid stylesheet and invalid options when it is created', () => {
    const cases: [() => unknown, RegExp][] = [
      [() => xslt('<html/>'), /begins with <html>: expected an xsl:stylesheet /],
      [() => xslt('<xsl:stylesheet'), /is not well-formed: line 1/],
      [() => xslt('/nowhere/at-all.xsl'), /\/nowhere\/at-all.xsl cannot be read: ENOENT/],
      [() => xslt(sheet('', '<xsl:include href="http://127.0.0.1/x.xsl"/>')), /has xsl:include/],
      [() => xslt(sheet('', '<xsl:import href="/etc/passwd"/>')), /has xsl:import/],
      [() => xslt(sheet('', '<xsl:output method="json"/>')), /output method "json": there are html/],
      [() => xslt(''), /the stylesheet is ""/],
      [() => xslt(list, { types: ['XML'] }), /types is \[ 'XML' \]/],
      [() => xslt(list, { maxBytes: 0 }), /maxBytes is 0/],
      [() => xslt(list, { parameters: {} as never }), /parameters is \{\}, expected a function/],
    ]
    for (const [make, message] of cases) assert.throws(make, { name: 'TypeError', message })
  })
})

describe('xslt, on a failure', () => {
  const log = new RecordingLog()
  const copying = xslt(copy, { log })

  async function fails(
    application: Application,
    stylesheet: string,
    message: RegExp,
    options: XsltOptions = {},
    status = 502,
  ) {
    log.lines.length = 0
    const middleware =
      stylesheet === copy && Object.keys(options).length === 0 ? copying : xslt(stylesheet, { ...options, log })
    const result = await call(middleware(application))
    assert.equal(result.status, status)
    assert.ok(!result.text.includes('secret'))
    assert.match(log.lines.map((line) => line.message).join('\n'), message)
    assert.equal(log.lines.length, 1)
    assert.equal(typeof log.lines[0]!.fields['requestId'], 'string')
    return log.lines[0]!
  }

  it('answers 502 for XML that is truncated or otherwise not well-formed', async () => {
    const cases: [string, RegExp][] = [
      ['<list><item>secret</item>', /<list> is not closed/],
      ['', /no root element/],
      ['secret', /text outside/],
      ['<a/><b/>', /a second root/],
      ['<a>x & y</a>', /an & that is not a reference/],
      ['<a>&nope;</a>', /an & that is not a reference/],
      ['<a>&#0;</a>', /not a character/],
      ['<a>1 < 2</a>', /a < that does not begin a tag/],
      ['<a x="1" x="2"/>', /the attribute x twice/],
      ['<a x=1/>', /a broken <a> tag/],
      ['<a><b></a></b>', /where <\/b> was expected/],
      ['<a>\x01</a>', /U\+1/],
      ['<a><!-- -- --></a>', /a broken comment/],
      ['<a>]]></a>', /\]\]> in text/],
      ['\n<?xml version="1.0"?><a/>', /processing instruction/],
    ]
    for (const [body, message] of cases) await fails(giving(body), copy, message)
  })

  it('accepts well-formed XML', async () => {
    const whole =
      '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE list SYSTEM "x.dtd"><!-- - --><?p d?>\n<list a=\'"\' b="\'">&#233;&lt;<![CDATA[<&]]></list>\n<!-- e -->'
    const { status } = await transformed(whole, copy)
    assert.equal(status, 200)
  })

  it('reads no file and no address, whatever the document and the stylesheet contain', async () => {
    let connections = 0
    const server = createServer((socket) => {
      connections++
      socket.destroy()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const directory = await mkdtemp(join(tmpdir(), 'gantry-xslt-'))
    try {
      const file = join(directory, 'secret.xml')
      await writeFile(file, '<s>secret</s>')
      for (const url of [`http://127.0.0.1:${port}/`, file, `file://${file}`]) {
        const entity = `<!DOCTYPE a [<!ENTITY x SYSTEM "${url}">]><a>&x;</a>`
        const line = await fails(giving(entity), copy, /the document type has declarations/)
        assert.equal(line.fields['code'], 'XSLT_FAILED')
        const reaching = sheet(
          `<xsl:template match="/"><o><xsl:copy-of select="document('${url}')"/><xsl:copy-of select="document(a)"/></o></xsl:template>`,
        )
        const { status, text } = await transformed(`<a>${url}</a>`, reaching)
        assert.deepEqual([status, text.includes('secret')], [200, false])
      }
      for (const reading of ['unparsed-text', 'doc', 'json-doc', 'environment-variable']) {
        const { text } = await transformed(
          '<a/>',
          sheet(`<xsl:template match="/"><o><xsl:value-of select="${reading}('${file}')"/></o></xsl:template>`).replace(
            '1.0',
            '3.0',
          ),
        )
        assert.ok(!text.includes('secret'), reading)
      }
      assert.equal(connections, 0)
    } finally {
      server.close()
      await rm(directory, { recursive: true })
    }
  })

  it('does not grow with entities that reference each other', async () => {
    const growing = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
    await fails(giving(growing), copy, /the document type has declarations/)
  })

  it('answers 502 if the stylesheet fails during a request', async () => {
    await fails(
      giving('<a/>'),
      sheet('<xsl:template match="/"><xsl:value-of select="((("/></xsl:template>'),
      /XPST0003/,
    )
    await fails(giving('<a/>'), sheet('<xsl:template match="/"><xsl:value-of select="$nope"/></xsl:template>'), /nope/)
    await fails(
      giving('<a n="x y=&quot;&quot;&gt;"/>'),
      sheet('<xsl:template match="/"><xsl:element name="{a/@n}"/></xsl:template>'),
      /name/,
    )
  })

  it("answers 502 to a document above its limit, and closes the application's body at once", async () => {
    let closed = 0
    let given = 0
    const application: Application = (_, start) => {
      start('200 OK', xml)
      const chunks = (function* () {
        for (;;) {
          given++
          yield Buffer.from('<a>secret</a>')
        }
      })()
      return Object.assign(chunks, { close: () => void closed++ })
    }
    const line = await fails(application, copy, /more than 30 bytes/, { maxBytes: 30 })
    assert.deepEqual([line.fields['code'], given, closed], ['XSLT_TOO_LARGE', 3, 1])
  })

  it('answers 502 for invalid bytes, an unknown encoding, and a content coding', async () => {
    await fails(giving(Buffer.from([0x3c, 0x61, 0x3e, 0xff])), copy, /"utf-8" does not match its bytes/)
    await fails(giving('<a/>', [['Content-Type', 'text/xml; charset=klingon']]), copy, /"klingon" is unknown/)
    await fails(giving('<a/>', [...xml, ['Content-Encoding', 'gzip']]), copy, /content coding "gzip"/)
    assert.equal(log.lines.at(-1)?.fields['code'], 'XSLT_ENCODED')
  })

  /** Compares each of 40 elements with each, eight times over: longer than any timeout, and with little memory. */
  const endless = sheet(
    `<xsl:template match="/"><xsl:choose><xsl:when test="a/@loop"><o><xsl:value-of select="count(${'//a[count('.repeat(7)}//a${') = 0]'.repeat(
      7,
    )})"/></o></xsl:when><xsl:otherwise><o/></xsl:otherwise></xsl:choose></xsl:template>`,
  )
  const looping = giving(`<a loop="yes">${'<a/>'.repeat(40)}</a>`)

  it('stops an endless stylesheet, keeps the event loop free meanwhile, and transforms the next document', async () => {
    const log = new RecordingLog()
    const clock = new FakeClock()
    const middleware = xslt(endless, { timeout: 1500, log, clock })
    const first = call(middleware(looping))
    const behind = call(middleware(giving('<a/>')))
    // On the event loop the stylesheet would delay these.
    for (let count = 0; count < 100; count++) await turn()
    clock.advance(1500)
    assert.deepEqual([(await first).status, (await behind).status], [502, 200])
    assert.deepEqual(
      log.lines.map((line) => line.fields['code']),
      ['XSLT_TIMEOUT'],
    )
  })

  it('stops a stylesheet that uses too much memory, and transforms the next document', async () => {
    const log = new RecordingLog()
    const growing = sheet(
      '<xsl:template match="/"><xsl:if test="a/@loop"><xsl:call-template name="l"/></xsl:if><o/></xsl:template>' +
        '<xsl:template name="l"><xsl:call-template name="l"/></xsl:template>',
    )
    const middleware = xslt(growing, { log, clock: new FakeClock() })
    const [first, behind] = await Promise.all([call(middleware(looping)), call(middleware(giving('<a/>')))])
    assert.deepEqual([first.status, behind.status], [502, 200])
    assert.deepEqual(
      log.lines.map((line) => line.fields['code']),
      ['XSLT_FAILED'],
    )
    assert.match(log.lines[0]!.message, /memory limit/)
  })

  it('answers 503 when too many documents wait, and removes those whose client has disconnected', async () => {
    const log = new RecordingLog()
    const clock = new FakeClock()
    const middleware = xslt(endless, { timeout: 1500, maxQueue: 1, log, clock })
    const running = call(middleware(looping))
    await turn()
    const left = run(middleware(giving('<a/>')))
    await turn()
    const refused = await call(middleware(giving('<a/>')))
    assert.equal(refused.status, 503)
    left.exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    left.clock.advance(5_000)
    await left.whenSettled
    const next = call(middleware(giving('<a/>')))
    await turn()
    clock.advance(1500)
    assert.equal((await running).status, 502)
    assert.equal((await next).status, 200)
    assert.deepEqual(
      log.lines.map((line) => line.fields['code']),
      ['XSLT_BUSY', 'XSLT_TIMEOUT'],
    )
  })

  it('serves a client without waiting documents although another client has filled the queue', async () => {
    const log = new RecordingLog()
    const clock = new FakeClock()
    const middleware = xslt(endless, { timeout: 1500, maxQueue: 1, log, clock })
    const from = (remoteAddress: string, document = giving('<a/>')): ReturnType<typeof call> =>
      call(middleware(document), { remoteAddress })
    const running = from('192.0.2.1', looping)
    await turn()
    const waiting = from('192.0.2.1')
    await turn()
    const other = from('192.0.2.2')
    assert.equal((await waiting).status, 503)
    clock.advance(1500)
    assert.deepEqual([(await running).status, (await other).status], [502, 200])
  })

  it('writes to wsgi.errors if there is no log', async () => {
    const log = new RecordingLog()
    await call(xslt(copy)(giving('<a>')), { log })
    assert.equal(log.lines.length, 1)
    assert.match(log.lines[0]!.message + JSON.stringify(log.lines[0]!.fields), /xslt: the response was not transformed/)
  })
})

for (const place of places) {
  describe(`xslt ${place.name}`, () => {
    const streaming: Application = async function* (_, start) {
      start('200 OK', xml)
      yield Buffer.from('<list><item>a')
      yield Buffer.from('</item></list>')
    }
    const requests: [string, CallRequest, Application, number][] = [
      ['a GET of an array', {}, giving('<list><item>a</item></list>'), 200],
      ['a GET of a stream', {}, streaming, 200],
      ['a HEAD', { method: 'HEAD' }, streaming, 200],
      ['what is malformed', {}, giving('<list>'), 502],
    ]
    for (const [name, request, application, status] of requests) {
      it(`keeps the contract for ${name}`, async () => {
        await using placed = await place.put(xslt(list, { log: new RecordingLog() }), application)
        const result = await call(placed.application, request)
        assert.equal(result.status, status)
        if (status === 200 && request.method !== 'HEAD') {
          assert.equal(result.text, '<html title="nobody"><p title="">a</p><br></html>')
        }
      })
    }
  })
}
