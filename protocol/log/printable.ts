/** Escapes characters of a peer's text that would move a terminal's cursor, hide or reverse text, or end a log line. */

/**
 * DEL and C1 controls (U+009B begins an ANSI escape sequence, U+0085 is a line end), line and paragraph separators, and
 * invisible and bidirectional characters (UTS #55, "Trojan Source"). JSON does not escape any of them. Latin-1's soft
 * hyphen, which any client can send, is one of them; variation selectors, of which most emoji have one, are not.
 */
const UNSEEN =
  '\\x7f-\\x9f\\u2028\\u2029\\ufff9-\\ufffb\\p{Bidi_Control}[\\p{Default_Ignorable_Code_Point}--[\\ufe00-\\ufe0f]]'
const UNSEEN_ALONE: RegExp = new RegExp(`[${UNSEEN}]`, 'gv')
const UNSEEN_AND_CONTROLS: RegExp = new RegExp(`[\\x00-\\x1f${UNSEEN}]`, 'gv')

/** JSON has no escape beyond U+FFFF: such a character is two. */
const escaped = (character: string): string =>
  character.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/**
 * For JSON lines, which stay JSON, and other lines whose controls below U+0020 are wanted or escaped already. Most text
 * is ASCII: the test for that costs a hundredth of the regular expression.
 */
export function printableLines(text: string): string {
  if (Buffer.byteLength(text) === text.length && !text.includes('\x7f')) return text
  return text.replace(UNSEEN_ALONE, escaped)
}

/** For one value or message in a line of plain text. */
export function printable(text: string): string {
  return text.replace(UNSEEN_AND_CONTROLS, escaped)
}

/** As `printable`, with the line ends and tabs of a stack. */
export function printableStack(text: string): string {
  return text.replace(UNSEEN_AND_CONTROLS, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  )
}
