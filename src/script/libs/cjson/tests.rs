use super::super::testing::{check, evaluate};

#[test]
fn values_become_json() {
    check(&[
        ("cjson.encode({1, 'a', true, false, cjson.null})", "[1,\"a\",true,false,null]"),
        ("cjson.encode({a = {b = {1, {}}}})", "{\"a\":{\"b\":[1,{}]}}"),
        ("cjson.encode({}), cjson.encode(nil), cjson.encode('x')", "{} null \"x\""),
        ("cjson.encode({[1.5] = 'x'}), cjson.encode({[-0] = 1})", "{\"1.5\":\"x\"} {\"-0\":1}"),
        ("cjson.encode('\\0\\8\\9\\10\\12\\13\\31\"/\\\\\\127')", r#""\u0000\b\t\n\f\r\u001f\"\/\\\u007f""#),
        ("cjson.encode('\\128\\255') == '\"\\128\\255\"'", "true"),
        ("cjson.encode({[2] = 1}), cjson.encode({1, nil, 3})", "[null,1] [1,null,3]"),
        (
            "cjson.encode({[10000000000] = 1}), cjson.encode({[2147483648] = 1, [1] = 1})",
            "{\"10000000000\":1} [1]",
        ),
        ("cjson.encode(-0), cjson.encode(1/3), cjson.encode(2^53)", "-0 0.33333333333333 9.007199254741e+15"),
    ]);
}

#[test]
fn what_cannot_be_json_is_refused() {
    check(&[
        ("cjson.encode()", "! user_script:1: bad argument #1 to 'encode' (expected 1 argument)"),
        ("cjson.encode(1, 2)", "! user_script:1: bad argument #1 to 'encode' (expected 1 argument)"),
        (
            "cjson.encode({[1] = 1, [100] = 2})",
            "! user_script:1: Cannot serialise table: excessively sparse array",
        ),
        ("cjson.encode(type)", "! user_script:1: Cannot serialise function: type not supported"),
        (
            "cjson.encode({[true] = 1})",
            "! user_script:1: Cannot serialise boolean: table key must be a number or string",
        ),
        ("cjson.encode({0/0})", "! user_script:1: Cannot serialise number: must not be NaN or Inf"),
        (
            "cjson.encode({[1/0] = 1, x = 1})",
            "! user_script:1: Cannot serialise number: must not be NaN or Inf",
        ),
        (
            "(function() local a = {} a.x = {a} return cjson.encode(a) end)()",
            "! user_script:1: Cannot serialise, excessive nesting (1001)",
        ),
    ]);
}

#[test]
fn json_becomes_values() {
    check(&[
        ("cjson.decode('[1, 2.5, -3e2, true, false]')[3], #cjson.decode('[ ]')", "-300 0"),
        ("cjson.decode(' {\"a\": {\"b\": [{}, \"x\"]} } ').a.b[2]", "x"),
        ("cjson.decode('null') == cjson.null, cjson.decode('[null]')[1] == cjson.null", "true true"),
        ("cjson.decode([[\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\/\\n\"]])", "A\u{e9}\u{20ac}\u{1f600}/\n"),
        (
            "cjson.decode('{\"a\":1,\"a\":2}').a, cjson.decode(12), cjson.decode('1\\0x', nil) ",
            "! user_script:1: bad argument #1 to 'decode' (expected 1 argument)",
        ),
        ("cjson.decode(12), cjson.decode('12\\0x')", "12 12"),
        ("unpack(cjson.decode('[inf,-Infinity,0x1p4,+5,0x.8,1e999,-0,007]'))", "inf -inf 16 5 0.5 inf -0 7"),
        ("cjson.decode('\"\\255\\128\"') == '\\255\\128'", "true"),
    ]);
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    let expected = |text: &str| format!("! user_script:1: {text}");
    for (text, error) in [
        ("", "Expected value but found T_END at character 1"),
        ("x", "Expected value but found invalid token at character 1"),
        ("[1,2", "Expected comma or array end but found T_END at character 5"),
        ("[1,]", "Expected value but found T_ARR_END at character 4"),
        ("{1:2}", "Expected object key string but found T_NUMBER at character 2"),
        ("{\"a\"}", "Expected colon but found T_OBJ_END at character 5"),
        ("{\"a\":1]", "Expected comma or object end but found T_ARR_END at character 7"),
        ("{\"a\":1,}", "Expected object key string but found T_OBJ_END at character 8"),
        ("1 2", "Expected the end but found T_NUMBER at character 3"),
        ("[\"ab", "Expected value but found unexpected end of string at character 5"),
        (r#"["a\\x"]"#, "Expected value but found invalid escape code at character 4"),
        (r#"["\\ud83d"]"#, "Expected value but found invalid unicode escape code at character 3"),
        (r#"["\\ude00"]"#, "Expected value but found invalid unicode escape code at character 3"),
        (r#"["\\u00"#, "Expected value but found invalid unicode escape code at character 3"),
        ("[--1]", "Expected value but found invalid number at character 2"),
        ("a\\0", "JSON parser does not support UTF-16 or UTF-32"),
    ] {
        assert_eq!(evaluate(&format!("cjson.decode('{text}')")), expected(error), "{text}");
    }
}

#[test]
fn nesting_is_limited() {
    check(&[
        ("#cjson.decode(('['):rep(1000) .. (']'):rep(1000))", "1"),
        (
            "cjson.decode(('['):rep(1001) .. (']'):rep(1001))",
            "! user_script:1: Found too many nested data structures (1001) at character 1001",
        ),
        (
            "cjson.decode_max_depth(2), #cjson.decode('[[]]'), cjson.decode('[[[]]]')",
            "! user_script:1: Found too many nested data structures (3) at character 3",
        ),
        (
            "cjson.encode_max_depth(2), cjson.encode({{1}}), cjson.encode({{{1}}})",
            "! user_script:1: Cannot serialise, excessive nesting (3)",
        ),
    ]);
    // Remote beyond what the settings and the stacks allow.
    for code in [
        "cjson.decode_max_depth(10000000), cjson.decode(('['):rep(1000000))",
        "cjson.decode_max_depth(10000000), cjson.decode(('{\"a\":'):rep(1000000))",
        "cjson.encode_max_depth(10000000), (function() local a = {} a[1] = a cjson.encode(a) end)()",
        "cjson.encode_max_depth(10000000), (function() local a = {} a.x = a cjson.encode(a) end)()",
    ] {
        let answer = evaluate(code);
        assert!(
            answer.contains("too many nested") || answer.contains("excessive nesting"),
            "{code}: {answer}"
        );
    }
}

#[test]
fn settings_are_checked_and_shown() {
    check(&[
        ("cjson.encode_max_depth(), cjson.decode_max_depth(7), cjson.encode_number_precision('3')", "1000 7 3"),
        ("cjson.encode_sparse_array()", "false 2 10"),
        ("cjson.encode_sparse_array(true, 3, 5), cjson.encode({[1] = 1, [20] = 2})", "true {\"1\":1,\"20\":2}"),
        ("cjson.encode_keep_buffer(), cjson.encode_keep_buffer('off'), cjson.decode_invalid_numbers()", "true false true"),
        ("cjson.encode_invalid_numbers('null'), cjson.encode({0/0, 1/0})", "null [null,null]"),
        ("cjson.encode_invalid_numbers(true), cjson.encode({0/0, -1/0})", "true [nan,-inf]"),
        (
            "cjson.decode_invalid_numbers(false), cjson.decode('[0x10]')",
            "! user_script:1: Expected value but found invalid number at character 2",
        ),
        ("cjson.encode_number_precision(2), cjson.encode(1/3), cjson.new().encode(1/3)", "2 0.33 0.33333333333333"),
        (
            "cjson.encode_max_depth(0)",
            "! user_script:1: bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
        ),
        (
            "cjson.encode_sparse_array(true, 1, 2, 3)",
            "! user_script:1: bad argument #4 to 'encode_sparse_array' (found too many arguments)",
        ),
        (
            "cjson.encode_invalid_numbers('x')",
            "! user_script:1: bad argument #1 to 'encode_invalid_numbers' (invalid option 'x')",
        ),
        ("cjson._NAME, cjson._VERSION, type(cjson.null)", "cjson 2.1.0 userdata"),
    ]);
}

#[test]
fn scripts_cannot_get_in_between() {
    check(&[("(function() next = error return cjson.new().encode({a = {1}, b = {2}}):len() end)()", "17")]);
}

#[test]
fn holes_do_not_fill_the_memory() {
    check(&[(
        "cjson.encode_sparse_array(false, 0, 0), cjson.encode({[2147483647] = 1})",
        "! user_script:1: Cannot serialise table: excessively sparse array",
    )]);
}

#[test]
fn any_text_is_answered_and_what_is_understood_comes_back() {
    let answer = evaluate(
        "(function()
            math.randomseed(11)
            local parts = {'[', ']', '{', '}', ',', ':', '\"', '\"a\"', '1', '-', '.5', 'e9', 'null', 'true', '\\\\', 'u',
                '00e9', 'inf', 'nan(', ' ', '0x', '\\255', '\\0', '{\"k\":', '[1,'}
            local understood = 0
            for i = 1, 30000 do
                local t = {}
                for j = 1, math.random(0, 9) do t[j] = parts[math.random(#parts)] end
                local ok, value = pcall(cjson.decode, table.concat(t))
                if ok then
                    understood = understood + 1
                    local ok, text = pcall(cjson.encode, value)
                    if ok then assert(cjson.encode(cjson.decode(text)) == text, text) end
                else
                    assert(type(value) == 'string')
                end
            end
            return understood > 100
        end)()",
    );
    assert_eq!(answer, "true");
}
