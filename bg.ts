// The door: picks a path by argv, loads only that, and sets the exit code.
async function open(argv: string[]): Promise<number> {
	if (argv[0] === "supervise") {
		const { supervise } = await import("./lib/supervise.ts");
		await supervise(argv.slice(1));
		return 0;
	}
	const isHook = argv[0] === "hook" || argv[0] === "hook-complete";
	if (isHook && !/^(-h|--help)$/.test(argv[1] ?? "")) {
		const { hook } = await import("./lib/hook.ts");
		await hook(argv[0] ?? "");
		return 0;
	}
	const { cli } = await import("./lib/cli.ts");
	return cli(argv);
}

open(process.argv.slice(2)).then(
	(code) => process.exit(code),
	(error) => {
		console.error(error instanceof Error ? error.stack : error);
		process.exit(70);
	},
);
