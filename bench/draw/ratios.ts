/** Bars left and right of "equal": how many times as good Gantry is as a peer, on a logarithmic scale. */

import { places } from '../report/table.ts'
import { card, element, HEADER, LABEL_WIDTH, MARGIN, text, VALUE_WIDTH, WIDTH } from './svg.ts'

export interface RatioRow {
  readonly label: string
  /** How many times as good: above 1, Gantry is ahead. */
  readonly advantage: number
  /** The quartiles of the rounds, in the same direction. */
  readonly low: number
  readonly high: number
  /** What is aimed at, in the same direction. */
  readonly goal: number | undefined
}

const ROW = 26
const AXIS = 22

export function ratioChart(title: string, subtitle: string, rows: readonly RatioRow[]): string {
  const drawn = rows.filter(({ advantage }) => Number.isFinite(advantage) && advantage > 0)
  const labels = LABEL_WIDTH + 80
  const left = MARGIN + labels
  const width = WIDTH - left - VALUE_WIDTH / 2 - MARGIN
  const powers = drawn.map(({ advantage }) => Math.log2(advantage))
  const [least, most] = [Math.floor(Math.min(-1, ...powers)), Math.ceil(Math.max(1, ...powers))]
  // What lies beyond the scale is drawn at its end.
  const x = (ratio: number): number =>
    left + ((Math.max(least, Math.min(most, Math.log2(ratio))) - least) / (most - least)) * width
  const top = HEADER + AXIS
  const bottom = top + drawn.length * ROW
  const content: string[] = []
  for (let power = least; power <= most; power++) {
    const at = x(2 ** power)
    const label = power === 0 ? 'equal' : power < 0 ? `1/${2 ** -power}` : `${2 ** power}×`
    content.push(
      element('line', { class: power === 0 ? 'axis' : 'line', x1: at, x2: at, y1: top - 6, y2: bottom }),
      text(at, top - 11, label, { class: 'quiet', 'text-anchor': 'middle' }),
    )
  }
  drawn.forEach(({ label, advantage, low, high, goal }, at) => {
    const middle = top + at * ROW + ROW / 2
    const [from, to] = [x(Math.min(1, advantage)), x(Math.max(1, advantage))]
    const isAhead = advantage >= 1
    content.push(
      text(left - 12, middle + 4.5, label, { 'text-anchor': 'end' }),
      element('rect', {
        class: isAhead ? 'ahead' : 'behind',
        x: from,
        y: middle - 8,
        width: Math.max(1, to - from),
        height: 16,
      }),
    )
    if (Number.isFinite(low) && Number.isFinite(high)) {
      content.push(
        element('line', {
          class: 'whisker',
          x1: x(Math.min(low, high)),
          x2: x(Math.max(low, high)),
          y1: middle,
          y2: middle,
        }),
      )
    }
    if (goal !== undefined) {
      content.push(element('line', { class: 'goal', x1: x(goal), x2: x(goal), y1: middle - 11, y2: middle + 11 }))
    }
    content.push(text(WIDTH - MARGIN, middle + 4.5, `${places(advantage)}×`, { class: 'strong', 'text-anchor': 'end' }))
  })
  const description = drawn.map(({ label, advantage }) => `${label}: ${places(advantage)} times as good`).join('; ')
  return card({ title, subtitle, description }, bottom + MARGIN, content)
}
