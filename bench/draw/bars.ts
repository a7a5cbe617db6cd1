/**
 * Horizontal bars: one group per setup, one bar per series, with its value and a line for the quartiles of the rounds.
 */

import type { Spread } from '../report/statistics.ts'
import { figure } from '../report/table.ts'
import { card, element, HEADER, LABEL_WIDTH, MARGIN, text, VALUE_WIDTH, WIDTH } from './svg.ts'

export interface Group {
  readonly label: string
  /** Gantry's bars have a colour of their own. */
  readonly ours: boolean
  /** One per series. */
  readonly values: readonly Spread[]
}

export interface BarChart {
  readonly title: string
  readonly subtitle: string
  readonly unit: string
  /** At most three, for which there are colours. */
  readonly series: readonly string[]
  readonly groups: readonly Group[]
}

const BAR = 14
const GAP = 12
const LEGEND = 24

export function barChart({ title, subtitle, unit, series, groups }: BarChart): string {
  const highest = Math.max(
    0,
    ...groups.flatMap(({ values }) => values.map(({ median, high }) => Math.max(median, high))),
  )
  const left = MARGIN + LABEL_WIDTH
  const scale = (value: number): number => (highest === 0 ? 0 : (value / highest) * (WIDTH - left - VALUE_WIDTH))
  const content: string[] = []
  let y = HEADER
  if (series.length > 1) {
    let x = left
    series.forEach((name, at) => {
      content.push(
        element('rect', { class: `ours-${at}`, x, y, width: 10, height: 10 }),
        element('rect', { class: `peer-${at}`, x: x + 12, y, width: 10, height: 10 }),
        text(x + 28, y + 9.5, name, { class: 'quiet' }),
      )
      x += 50 + name.length * 7
    })
    y += LEGEND
  }
  const top = y
  for (const { label, ours, values } of groups) {
    const height = series.length * BAR
    const attributes = { 'text-anchor': 'end', ...(ours && { class: 'strong' }) }
    content.push(text(left - 10, y + height / 2 + 4.5, label, attributes))
    values.forEach((value, at) => {
      const middle = y + at * BAR + BAR / 2
      const [low, high] = [scale(value.low), scale(value.high)]
      content.push(
        element('rect', {
          class: `${ours ? 'ours' : 'peer'}-${at}`,
          x: left,
          y: middle - BAR / 2 + 1,
          width: scale(value.median),
          height: BAR - 2,
        }),
      )
      if (high - low >= 1) {
        content.push(element('line', { class: 'whisker', x1: left + low, x2: left + high, y1: middle, y2: middle }))
      }
      const end = left + Math.max(scale(value.median), high)
      content.push(text(end + 6, middle + 4.5, `${figure(value.median)} ${unit}`, ours ? { class: 'strong' } : {}))
    })
    y += height + GAP
  }
  content.push(element('line', { class: 'axis', x1: left, x2: left, y1: top - 4, y2: y - GAP + 4 }))
  const description = groups
    .map(({ label, values }) => {
      const figures = values.map((value, at) => {
        const amount = `${figure(value.median)} ${unit}`
        return series.length > 1 ? `${series[at]} ${amount}` : amount
      })
      return `${label}: ${figures.join(', ')}`
    })
    .join('; ')
  return card({ title, subtitle, description }, y - GAP + MARGIN, content)
}
