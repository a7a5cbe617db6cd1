/**
 * XML as text: decodes bytes by their declared encoding, and checks that a document is well-formed (XML 1.0). Builds no
 * tree. Refuses declarations in a document type: entities could read files, or grow without bound.
 */

import type { xsltCodes } from '../../protocol/contract/error-codes/feature-codes.ts'

/** The text is not XML, or uses a part of XML that is refused. */
class XmlError extends Error {
  override readonly name: string = 'XmlError'
  readonly code: keyof typeof xsltCodes

  constructor(code: XmlError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/**
 * Decodes an XML document. The encoding is that of the byte order mark, else the charset of Content-Type, else that of
 * the declaration, else UTF-8 (RFC 7303 §3).
 *
 * @param contentType value of the field, undefined if there is none
 * @throws XmlError `XML_ENCODING` if the encoding is unknown, or the bytes are invalid in it
 */
export function decodeXml(bytes: Uint8Array, contentType: string | undefined): string {
  const label = marked(bytes) ?? charsetOf(contentType) ?? declared(bytes) ?? 'utf-8'
  try {
    return new TextDecoder(label, { fatal: true }).decode(bytes)
  } catch (error) {
    const why = error instanceof RangeError ? 'is unknown' : 'does not match its bytes'
    throw new XmlError('XML_ENCODING', `the encoding ${JSON.stringify(label)} ${why}`)
  }
}

function marked(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return 'utf-8'
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be'
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le'
  return undefined
}

function charsetOf(contentType: string | undefined): string | undefined {
  return contentType?.match(/;\s*charset\s*=\s*"?([^\s;"]+)/i)?.[1]
}

/**
 * The encoding of the declaration, whose first bytes are ASCII in every encoding except UTF-16 (XML 1.0, appendix F).
 */
function declared(bytes: Uint8Array): string | undefined {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 200)).toString('latin1')
  if (start.startsWith('<\0')) return 'utf-16le'
  if (start.startsWith('\0<')) return 'utf-16be'
  return start.match(/^<\?xml\s[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']/)?.[1]
}

const NAME_START =
  ':A-Z_a-z\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C\\u200D\\u2070-\\u218F\\u2C00-\\u2FEF\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}'
const NAME = `[${NAME_START}][${NAME_START}\\-.0-9\\u00B7\\u0300-\\u036F\\u203F-\\u2040]*`
/** A name (XML 1.0 §2.3). */
export const xmlName: RegExp = new RegExp(`^${NAME}$`, 'u')
/** A character that XML does not allow (XML 1.0 §2.2). */
export const notXml: RegExp = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u

const OPEN = new RegExp(`<(${NAME})`, 'uy')
const CLOSE = new RegExp(`</(${NAME})\\s*>`, 'uy')
const ATTRIBUTE = new RegExp(`\\s+(${NAME})\\s*=\\s*(?:"([^"<]*)"|'([^'<]*)')`, 'uy')
const TAG_END = /\s*(\/?)>/y
const INSTRUCTION = new RegExp(`<\\?(${NAME})(?:\\s[^]*?)?\\?>`, 'uy')
const DECLARATION =
  /^<\?xml\s+version\s*=\s*(["'])1\.\d\1(?:\s+encoding\s*=\s*(["'])[A-Za-z][\w.-]*\2)?(?:\s+standalone\s*=\s*(["'])(?:yes|no)\3)?\s*\?>/
const DOCTYPE = /<!DOCTYPE\s[^[\]<>]*>/y
const TEXT = /[^<]+/y
const REFERENCE = /&(?:(?:amp|lt|gt|quot|apos);|#(\d+);|#x([0-9a-fA-F]+);)?/g

/** References to characters beyond U+FFFF, which readers that count in 16 bits lose. */
const BEYOND = /&#(?:x([0-9a-fA-F]{5,});|(\d{5,});)/g

/** Called for each element, in document order. */
type ElementSeen = (name: string, attributes: ReadonlyMap<string, string>, depth: number) => void

/**
 * Checks that `text` is one complete well-formed document (XML 1.0 §2.1) without declarations in its document type.
 * Namespaces are not checked.
 *
 * @returns the document without comments, with CDATA sections as ordinary text, and with the characters of references
 *   beyond U+FFFF
 * @throws XmlError with the number of the wrong line
 */
export function checkWellFormed(text: string, seen?: ElementSeen): string {
  return new Checker(text.startsWith('\uFEFF') ? text.slice(1) : text, seen).check()
}

class Checker {
  readonly #text: string
  readonly #seen: ElementSeen | undefined
  readonly #open: string[] = []
  #at = 0
  /** The document up to `#copied`, without comments and with CDATA sections as text. */
  #plain = ''
  #copied = 0
  #rooted = false
  #typed = false

  constructor(text: string, seen: ElementSeen | undefined) {
    this.#text = text
    this.#seen = seen
  }

  check(): string {
    const bad = notXml.exec(this.#text)
    if (bad) this.#fail(`a character that XML does not allow (U+${bad[0].codePointAt(0)!.toString(16)})`, bad.index)
    if (/^<\?xml\s/.test(this.#text)) {
      const declaration = DECLARATION.exec(this.#text)
      if (!declaration) this.#fail('a broken XML declaration')
      else this.#at = declaration[0].length
    }
    while (this.#at < this.#text.length) this.#piece()
    if (this.#open.length > 0) this.#fail(`<${this.#open.at(-1)}> is not closed`)
    if (!this.#rooted) this.#fail('no root element')
    const plain = this.#plain + this.#text.slice(this.#copied)
    return plain.replace(BEYOND, (reference, hex: string | undefined, decimal: string) => {
      const code = hex ? Number.parseInt(hex, 16) : Number(decimal)
      return code > 0xffff ? String.fromCodePoint(code) : reference
    })
  }

  #piece(): void {
    const text = this.#text
    if (text[this.#at] !== '<') {
      const [characters] = this.#take(TEXT)!
      if (this.#open.length === 0) {
        if (/[^ \t\r\n]/.test(characters)) this.#fail('text outside of the root element', this.#at - characters.length)
        return
      }
      if (characters.includes(']]>')) this.#fail(']]> in text')
      this.#references(characters)
    } else if (text.startsWith('</', this.#at)) this.#closing()
    else if (text.startsWith('<!--', this.#at)) this.#comment()
    else if (text.startsWith('<?', this.#at)) this.#instruction()
    else if (text.startsWith('<![CDATA[', this.#at)) {
      const end = text.indexOf(']]>', this.#at)
      if (this.#open.length === 0 || end === -1) this.#fail('a broken CDATA section')
      const held = text
        .slice(this.#at + 9, end)
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
      this.#replace(end + 3, held)
    } else if (text.startsWith('<!DOCTYPE', this.#at)) this.#doctype()
    else this.#opening()
  }

  #comment(): void {
    // The first `--` must be the end of the comment.
    const end = this.#text.indexOf('--', this.#at + 4)
    if (end === -1 || this.#text[end + 2] !== '>') this.#fail('a broken comment')
    this.#replace(end + 3, '')
  }

  /** Continues at `end`, and replaces the text before it with `piece`. */
  #replace(end: number, piece: string): void {
    this.#plain += this.#text.slice(this.#copied, this.#at) + piece
    this.#at = end
    this.#copied = end
  }

  #opening(): void {
    const tag = this.#take(OPEN)
    if (!tag) throw this.#fail('a < that does not begin a tag')
    if (this.#rooted && this.#open.length === 0) this.#fail('a second root element')
    this.#rooted = true
    const attributes = new Map<string, string>()
    for (let found = this.#take(ATTRIBUTE); found; found = this.#take(ATTRIBUTE)) {
      const value = found[2] ?? found[3]!
      if (attributes.has(found[1]!)) this.#fail(`the attribute ${found[1]} twice`)
      this.#references(value)
      attributes.set(found[1]!, value)
    }
    const end = this.#take(TAG_END)
    if (!end) throw this.#fail(`a broken <${tag[1]}> tag`)
    this.#seen?.(tag[1]!, attributes, this.#open.length)
    if (end[1] === '') this.#open.push(tag[1]!)
  }

  #closing(): void {
    const name = this.#take(CLOSE)?.[1]
    const open = this.#open.pop()
    if (name === undefined || name !== open)
      this.#fail(`a closing tag where ${open ? `</${open}>` : 'none'} was expected`)
  }

  #instruction(): void {
    const name = this.#take(INSTRUCTION)?.[1]
    if (name === undefined || name.toLowerCase() === 'xml') this.#fail('a broken processing instruction')
  }

  #doctype(): void {
    if (this.#rooted || this.#typed) this.#fail('a document type that is not before the root element')
    this.#typed = true
    if (!this.#take(DOCTYPE)) {
      throw new XmlError(
        'XML_DOCTYPE',
        'the document type has declarations, which are refused: they could read files or grow without bound',
      )
    }
  }

  #references(value: string): void {
    if (!value.includes('&')) return
    for (const [reference, decimal, hex] of value.matchAll(REFERENCE)) {
      if (reference === '&') this.#fail('an & that is not a reference, or a reference to an unknown entity')
      const code = decimal ? Number(decimal) : hex ? Number.parseInt(hex, 16) : 0x20
      if (!(code <= 0x10ffff) || notXml.test(String.fromCodePoint(code)))
        this.#fail(`${reference}, which is not a character`)
    }
  }

  /** Matches an expression at the current position, and continues after the match. */
  #take(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.#at
    const found = expression.exec(this.#text)
    if (found) this.#at += found[0].length
    return found
  }

  #fail(what: string, at: number = this.#at): never {
    const line = this.#text.slice(0, at).split('\n').length
    throw new XmlError('XML_MALFORMED', `line ${line}: ${what}`)
  }
}
