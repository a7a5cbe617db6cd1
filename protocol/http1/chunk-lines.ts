/**
 * Chunk lines with white space around `;` and `=` of their extensions, which RFC 9112 §7.1.1 asks recipients to remove
 * (BWS) and llhttp refuses.
 *
 * It follows a chunked body beside llhttp and overwrites, in llhttp's copy, such a line's rest by bytes of the same
 * length that llhttp takes; what is not of the RFC's grammar there is overwritten by a byte that llhttp refuses. Lines
 * without such white space are left to llhttp.
 */

const SIZE = 0
/** After `;`: a name follows. */
const NAME_START = 1
const NAME = 2
/** White space after a name: `;` or `=` follows. */
const AFTER_NAME = 3
/** After `=`. */
const VALUE_START = 4
const VALUE = 5
const QUOTED = 6
const ESCAPE = 7
const QUOTED_END = 8
/** White space after a size or a value: only `;` may follow, since nothing else could end the line. */
const AFTER_VALUE = 9
const LINE_LF = 10
const DATA = 11
const DATA_CR = 12
const DATA_LF = 13
/** The last chunk's line is over, or llhttp has refused what came. */
const REST = 14

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const SEMICOLON = 0x3b
const EQUALS = 0x3d
const BACKSLASH = 0x5c

/** A token's character, which extends a name or a value. */
const FILLER = 0x61
/** No byte of a chunk line. */
const REFUSED = 0x01

const IS_TOKEN: Uint8Array = new Uint8Array(256)
for (const character of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  IS_TOKEN[character.charCodeAt(0)] = 1
}

/** One chunked body's lines, between two calls. */
export class ChunkLines {
  /** Bytes of chunk data in what was given last: what llhttp has to find there too. */
  data = 0
  #state = SIZE
  /** Of the chunk whose line or data this is; later what is left of its data. */
  #size = 0
  /** Whether the rest of this line is overwritten. */
  #masked = false

  /** Follows `memory` from `start` to `end`, where the body goes on, and overwrites what llhttp must not see. */
  follow(memory: Uint8Array, start: number, end: number): void {
    this.data = 0
    for (let at = start; at < end; at++) {
      if (this.#state === DATA) {
        const length = Math.min(this.#size, end - at)
        this.#size -= length
        this.data += length
        at += length
        if (this.#size > 0) return
        this.#state = DATA_CR
        if (at === end) return
      }
      if (this.#state === REST) return
      const code = memory[at]!
      const next = this.#next(code)
      if (next === undefined) {
        // Without white space the line is as it came, and llhttp's to judge.
        if (this.#masked) memory[at] = REFUSED
        this.#state = REST
        return
      }
      if (isBlank(code) && isOutsideQuotes(this.#state) && !this.#masked) {
        this.#masked = true
        // After a size or a quoted value llhttp expects another extension.
        memory[at] = this.#state === SIZE || this.#state === QUOTED_END ? SEMICOLON : FILLER
      } else if (this.#masked) {
        if (code === CR) this.#masked = false
        else memory[at] = FILLER
      }
      this.#state = next
    }
  }

  /** The state after a byte; undefined where the grammar has no such byte. */
  #next(code: number): number | undefined {
    switch (this.#state) {
      case SIZE: {
        const digit = hexadecimal(code)
        if (digit !== -1) {
          this.#size = this.#size * 16 + digit
          return SIZE
        }
        return isBlank(code) ? AFTER_VALUE : endOf(code)
      }
      case NAME_START:
        return isBlank(code) ? NAME_START : IS_TOKEN[code] ? NAME : undefined
      case NAME:
        if (IS_TOKEN[code]) return NAME
        return code === EQUALS ? VALUE_START : isBlank(code) ? AFTER_NAME : endOf(code)
      case AFTER_NAME:
        if (isBlank(code)) return AFTER_NAME
        return code === EQUALS ? VALUE_START : code === SEMICOLON ? NAME_START : undefined
      case VALUE_START:
        if (isBlank(code)) return VALUE_START
        return code === QUOTE ? QUOTED : IS_TOKEN[code] ? VALUE : undefined
      case VALUE:
        return IS_TOKEN[code] ? VALUE : isBlank(code) ? AFTER_VALUE : endOf(code)
      case QUOTED:
        if (code === QUOTE) return QUOTED_END
        return code === BACKSLASH ? ESCAPE : isText(code) ? QUOTED : undefined
      case ESCAPE:
        return isText(code) ? QUOTED : undefined
      case QUOTED_END:
        return isBlank(code) ? AFTER_VALUE : endOf(code)
      case AFTER_VALUE:
        return isBlank(code) ? AFTER_VALUE : code === SEMICOLON ? NAME_START : undefined
      case LINE_LF:
        if (code !== LF) return undefined
        return this.#size === 0 ? REST : DATA
      case DATA_CR:
        return code === CR ? DATA_LF : undefined
      default: // DATA_LF
        return code === LF ? SIZE : undefined
    }
  }
}

/** Where an extension or the whole line may end. */
function endOf(code: number): number | undefined {
  return code === SEMICOLON ? NAME_START : code === CR ? LINE_LF : undefined
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB
}

/** RFC 9110 §5.6.4: what a quoted-string may hold, or escape. */
function isText(code: number): boolean {
  return code === TAB || (code >= SPACE && code !== 0x7f)
}

function isOutsideQuotes(state: number): boolean {
  return state !== QUOTED && state !== ESCAPE
}

function hexadecimal(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}
