/**
 * The assertions of CPython's `wsgiref.validate` (3.11: 48 assertions and three warnings), and the rule of lint for
 * each. Assertions that do not apply to TypeScript are listed with the reason.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contractRules, type RuleCode } from '../../../protocol/contract/lint.ts'

type Row = [where: string, asserted: string, rule: RuleCode | { not: string }]

const keywords = { not: 'JavaScript has no keyword arguments; a surplus argument is CALL_ARGUMENTS or START_ARGUMENTS' }

const assertions: readonly Row[] = [
  ['check_string_type', 'status, header names and header values are str', 'STATUS_FORM'],
  ['lint_app', 'two arguments', 'CALL_ARGUMENTS'],
  ['lint_app', 'no keyword arguments', keywords],
  ['start_response_wrapper', 'two or three arguments', 'START_ARGUMENTS'],
  ['start_response_wrapper', 'no keyword arguments', keywords],
  ['lint_app', 'the application returns an iterator, and neither None nor False', 'BODY_ITERABLE'],
  [
    'InputWrapper.read',
    'read has exactly one argument',
    // No argument is correct too: "A server should allow read() to be called without an argument" (PEP 3333, note 1
    // there).
    'READ_ARGUMENTS',
  ],
  ['InputWrapper.read', 'read gives bytes', 'INPUT_RESULT'],
  ['InputWrapper.readline', 'readline has at most one argument', 'READ_ARGUMENTS'],
  ['InputWrapper.readline', 'readline gives bytes', 'INPUT_RESULT'],
  ['InputWrapper.readlines', 'readlines has at most one argument', 'READ_ARGUMENTS'],
  ['InputWrapper.readlines', 'readlines gives a list', 'INPUT_RESULT'],
  ['InputWrapper.readlines', 'of bytes', 'INPUT_RESULT'],
  ['InputWrapper.close', 'the input is not closed', 'STREAM_MEMBERS'],
  ['ErrorWrapper.write', 'write (and so writelines) takes str', 'ERRORS_TEXT'],
  ['ErrorWrapper.close', 'the error stream is not closed', 'STREAM_MEMBERS'],
  ['WriteWrapper.__call__', 'write takes bytes', 'CHUNK_TYPE'],
  ['IteratorWrapper.__next__', 'the iterator is not read after close', 'NEXT_AFTER_CLOSE'],
  ['IteratorWrapper.__next__', 'it yields bytes', 'CHUNK_TYPE'],
  ['IteratorWrapper.__next__', 'start_response was called before the first chunk', 'START_LATE'],
  ['IteratorWrapper.__del__', 'the iterator is closed before it is collected', 'CLOSE_MISSING'],
  ['check_environ', 'the environ is a dict, and no subclass', 'ENVIRON_OBJECT'],
  ['check_environ', 'the nine required keys are there', 'ENVIRON_MISSING'],
  ['check_environ', 'HTTP_CONTENT_TYPE and HTTP_CONTENT_LENGTH are not', 'ENVIRON_CONTENT_HEADER'],
  ['check_environ', 'variables without a dot are str', 'ENVIRON_STRING'],
  ['check_environ', 'wsgi.version is a tuple', 'ENVIRON_WSGI'],
  ['check_environ', 'wsgi.url_scheme is http or https', 'ENVIRON_WSGI'],
  ['check_environ', "SCRIPT_NAME is empty or begins with '/'", 'ENVIRON_PATH'],
  ['check_environ', "PATH_INFO is empty or begins with '/'", 'ENVIRON_PATH'],
  ['check_environ', 'CONTENT_LENGTH is a number, not negative', 'ENVIRON_VALUE'],
  ['check_environ', 'one of SCRIPT_NAME and PATH_INFO is there', 'ENVIRON_PATH'],
  ['check_environ', "SCRIPT_NAME is not '/'", 'ENVIRON_PATH'],
  ['check_input', 'wsgi.input has read, readline, readlines and __iter__', 'ENVIRON_WSGI'],
  ['check_errors', 'wsgi.errors has flush, write and writelines', 'ENVIRON_WSGI'],
  ['check_status', 'the status code has three characters', 'STATUS_FORM'],
  ['check_status', 'it is at least 100', 'STATUS_FORM'],
  ['check_headers', 'headers are a list', 'HEADERS_ARRAY'],
  ['check_headers', 'of tuples', 'HEADERS_ARRAY'],
  ['check_headers', 'of two', 'HEADERS_ARRAY'],
  ['check_headers', 'none is called Status', 'HEADER_NAME'],
  ['check_headers', "no name holds ':' or a line feed", 'HEADER_NAME'],
  ['check_headers', 'a name is a letter and then letters, digits, - and _ (we: a token, RFC 9110 §5.1)', 'HEADER_NAME'],
  ['check_headers', "no name ends in '-' or '_'", 'HEADER_NAME'],
  ['check_headers', 'no value holds a character below 040', 'HEADER_VALUE'],
  ['check_content_type', '204 and 304 have no Content-Type', 'CONTENT_TYPE_PRESENT'],
  ['check_content_type', 'others have one', 'CONTENT_TYPE_MISSING'],
  ['check_exc_info', 'exc_info is None or a tuple', 'EXC_INFO_VALUE'],
  ['check_iterator', 'the iterator is neither str nor bytes', 'BODY_ITERABLE'],
]

const warnings: readonly Row[] = [
  ['check_environ', 'QUERY_STRING is there', 'ENVIRON_MISSING'],
  [
    'check_environ',
    'the method is one of eight',
    {
      not: 'any token is a method (RFC 9110 §9.1), and an application answers 405 or 501; ENVIRON_VALUE wants the token',
    },
  ],
  ['check_status', 'the status is a code, one space and an explanation', 'STATUS_FORM'],
]

test('each of the 48 assertions and 3 warnings of wsgiref.validate has a rule, or a reason why it has none', () => {
  assert.equal(assertions.length, 48)
  assert.equal(warnings.length, 3)
  for (const [where, asserted, rule] of [...assertions, ...warnings]) {
    if (typeof rule === 'string') assert.ok(rule in contractRules, `${where}: ${asserted}`)
    else assert.ok(rule.not.length > 0)
  }
})
