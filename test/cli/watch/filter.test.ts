import { expect, test } from "bun:test";
import { filterRows } from "../../../lib/cli/watch/filter.ts";
import { rowOf } from "../../tools/watch.ts";

const rows = [
	rowOf(1, { description: "fix the Tests", tags: ["nightly", "ci"] }),
	rowOf(2, { status: "queued", agent: "reviewer", kind: "droid" }),
	rowOf(3, { status: "error", error: "exited 3", parent_session_id: "ses_42" }),
	rowOf(4, { paused_at: "2026-01-01T00:00:00Z", description: "a b c" }),
];

test.each([
	["", [1, 2, 3, 4]],
	["  ", [1, 2, 3, 4]],
	["tests", [1]],
	["status:running", [1, 4]],
	["status:run", [1, 4]],
	["status:queued,error", [2, 3]],
	["status:paused", [4]],
	["tag:night", [1]],
	["tag:NIGHTLY fix", [1]],
	["tag:nightly status:queued", []],
	["droid:rev", [2]],
	["session:42", [3]],
	["exited", [3]],
	['"a b"', [4]],
	['"b a"', []],
	["nosuch:tests", []],
	["bg_00000002", [2]],
	["constructor:x", []],
])("the filter %p shows %p", (filter, ids) => {
	const shown = filterRows(rows, filter).map(({ short }) =>
		Number(short.slice(1)),
	);
	expect(shown).toEqual(ids);
});
