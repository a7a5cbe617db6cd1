/** The reason phrase of each registered status code (RFC 9110 §15): a table, so that codecs need not import `node:http`. */
export { STATUS_CODES as REASONS } from 'node:http'
