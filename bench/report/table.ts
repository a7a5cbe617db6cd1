/** Tables and figures as text, in Markdown that also reads well in a terminal. */

/** A Markdown table with padded columns; the first column is aligned left, the others right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => (row[column] ?? '').length)),
  )
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => pad(cells[column] ?? '', width, column)).join(' | ')} |`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}

function pad(text: string, width: number, column: number): string {
  return column === 0 ? text.padEnd(width) : text.padStart(width)
}

/** A figure with three significant digits and thousands separators: `47,312` → `47,300`; `–` for none. */
export function figure(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const digits = Math.floor(Math.log10(Math.abs(value)))
  const unit = 10 ** (digits - 2)
  const rounded = Math.round(value / unit) * unit
  return digits >= 2 ? Math.round(rounded).toLocaleString('en-US') : rounded.toFixed(Math.max(0, 2 - digits))
}

/** A ratio or another small number with two places; `–` for none. */
export function places(value: number | undefined, count = 2): string {
  return value === undefined || !Number.isFinite(value) ? '–' : value.toFixed(count)
}

/** Bytes as `13 B`, `10 KiB`, `1 MiB`, `1 GiB`, with one place where it is not whole. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB']
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`
}
