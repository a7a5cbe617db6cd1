/** SVG as text: escaping, elements, and the frame that all charts share, readable on light and dark pages. */

/** Text for an attribute or between tags. Characters that XML 1.0 forbids become U+FFFD. */
export function escapeXml(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

export type Attributes = Readonly<Record<string, string | number>>

/** An element; `content` is markup, so text goes through `escapeXml` or `text`. */
export function element(name: string, attributes: Attributes, content?: string): string {
  const written = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? coordinate(value) : escapeXml(value)}"`)
    .join('')
  return content === undefined ? `<${name}${written}/>` : `<${name}${written}>${content}</${name}>`
}

/** A line of text; `x` is its start, or its end or middle as `anchor` says. */
export function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return element('text', { x, y, ...attributes }, escapeXml(content))
}

/** A tenth of a pixel is enough, and keeps the files small and their differences readable. */
function coordinate(value: number): string {
  if (!Number.isFinite(value)) throw new Error(`expected a finite coordinate, got ${value}`)
  return String(Math.round(value * 10) / 10)
}

export const WIDTH = 880
export const LABEL_WIDTH = 330
/** Right of the bars, for their values. */
export const VALUE_WIDTH = 130
export const MARGIN = 20
export const HEADER = 62

// The card has a background of its own: a page may be light where the system is dark, or the other way round.
const style = `
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #59636e; font-size: 12px; }
.strong { font-weight: 600; }
.card { fill: #ffffff; stroke: #d1d9e0; }
.line { stroke: #d1d9e0; stroke-width: 1; }
.axis { stroke: #818b98; stroke-width: 1.5; }
.whisker { stroke: #1f2328; stroke-width: 1.2; }
.goal { stroke: #8250df; stroke-width: 2.5; }
.ours-0 { fill: #0969da; } .ours-1 { fill: #54aeff; } .ours-2 { fill: #b6e3ff; }
.peer-0 { fill: #6e7781; } .peer-1 { fill: #afb8c1; } .peer-2 { fill: #d8dee4; }
.ahead { fill: #1a7f37; } .behind { fill: #bc4c00; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.quiet { fill: #9198a1; }
.card { fill: #0d1117; stroke: #3d444d; }
.line { stroke: #3d444d; }
.axis { stroke: #9198a1; }
.whisker { stroke: #f0f6fc; }
.goal { stroke: #bc8cff; }
.ours-0 { fill: #4493f8; } .ours-1 { fill: #1f6feb; } .ours-2 { fill: #0c4a9e; }
.peer-0 { fill: #9198a1; } .peer-1 { fill: #656c76; } .peer-2 { fill: #444c56; }
.ahead { fill: #3fb950; } .behind { fill: #f0883e; }
}
`

/** A whole chart. `description` says in words what the picture shows, for those who do not see it. */
export function card(
  { title, subtitle, description }: { readonly title: string; readonly subtitle: string; readonly description: string },
  height: number,
  content: readonly string[],
): string {
  const parts = [
    element('title', {}, escapeXml(title)),
    element('desc', {}, escapeXml(description)),
    element('style', {}, style),
    element('rect', { class: 'card', x: 0.5, y: 0.5, width: WIDTH - 1, height: height - 1, rx: 8 }),
    text(MARGIN, 28, title, { class: 'title' }),
    text(MARGIN, 47, subtitle, { class: 'quiet' }),
    ...content,
  ]
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    role: 'img',
    viewBox: `0 0 ${WIDTH} ${Math.ceil(height)}`,
    width: WIDTH,
    height: Math.ceil(height),
  }
  return `${element('svg', attributes, `\n${parts.join('\n')}\n`)}\n`
}
