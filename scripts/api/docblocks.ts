/** Reads docblocks: the description as paragraphs of markdown, and the tags after it. */

export interface Tag {
  /** Without its `@`. */
  readonly name: string
  readonly text: string
}

export interface Doc {
  /** Paragraphs and lists, each without line breaks but those between list items. */
  readonly text: readonly string[]
  readonly tags: readonly Tag[]
}

/** @param doc a docblock without its stars */
export function parseDoc(doc: string): Doc {
  const [description = '', ...rest] = doc.split(/^@(?=\w)/m)
  const tags = rest.map((tag) => {
    const [, name = '', text = ''] = /^(\w+)\s*([\s\S]*)$/.exec(tag)!
    return { name, text: name === 'example' ? unindented(text.trimEnd()) : inline(text) }
  })
  const text = description.trim() === '' ? [] : description.trim().split(/\n{2,}/)
  return { text: text.map((paragraph) => (paragraph.includes('```') ? paragraph : joined(paragraph))), tags }
}

/** One line for a paragraph, and one for each item of a list. */
function joined(paragraph: string): string {
  return paragraph
    .split(/\n(?=- |\d+\. )/)
    .map(inline)
    .join('\n')
}

/** On one line, with `<` as text, and with the targets of links as code: types are not headings of every page. */
function inline(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\{@link (\w+)\}/g, '`$1`')
    .split(/(`[^`]*`)/)
    .map((part, at) => (at % 2 === 1 ? part : part.replaceAll('<', '&lt;')))
    .join('')
}

/** Without the indentation that all lines after the first have in common. */
function unindented(text: string): string {
  const lines = text.split('\n')
  const depths = lines.slice(1).flatMap((line) => (line.trim() === '' ? [] : [/^ */.exec(line)![0].length]))
  const depth = depths.length === 0 ? 0 : Math.min(...depths)
  return lines.map((line, at) => (at === 0 ? line : line.slice(depth))).join('\n')
}
