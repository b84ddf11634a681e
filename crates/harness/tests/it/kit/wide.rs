//! A pack that uses everything the shipped one does not: loops, questions, signals, waits, fallbacks,
//! probes, previews, an undo by another operation, and a write that nobody can take back.

use super::{Desk, cells, says};

const FILES: [(&str, &str); 5] = [
    (
        "pack.yaml",
        r#"schema: harness.pack/v1
name: field-service
version: 0.1.0
owner: operations
description: Everything at once.
harness: ">=0.1"
asks:
  operations: [stock.book, stock.find, stock.level, stock.label, stock.old_level, stock.put_back, stock.quote, stock.shelve, stock.unbook]
  secrets: [stock_token]
roles: [approver, clerk]
"#,
    ),
    (
        "intents/restock.yaml",
        r#"schema: harness.intent/v1
name: restock
title: Restock a shop
input:
  type: object
  required: [shop, parts]
  additionalProperties: false
  properties:
    shop: {type: string, pattern: "^SH-[0-9]{3}$"}
    parts: {type: array, minItems: 1, maxItems: 3, items: {type: string, pattern: "^P[0-9]{2}$"}}
playbook: restock
agent: agent:restock
triggers: [restock]
examples: [Restock SH-001]
"#,
    ),
    (
        "playbooks/restock.yaml",
        r#"schema: harness.playbook/v1
name: restock
steps:
  - id: level
    do: stock.level
    with: {shop: "${{ intent.shop }}"}
    on_failure:
      unavailable:
        - fallback: {do: stock.old_level, with: {shop: "${{ intent.shop }}"}, caveat: The level is of yesterday.}
        - stop
  - id: how_many
    ask: How many of each?
    answer: {type: object, required: [count], properties: {count: {type: integer, minimum: 1, maximum: 9}}}
    role: clerk
    expires: 1h
    on_failure:
      timeout: [stop]
  - id: each
    for_each: intent.parts
    as: part
    max: 3
    steps:
      - id: book
        do: stock.book
        with: {part: "${{ part }}", count: "${{ steps.how_many.output.count }}"}
      - id: shelve
        do: stock.shelve
        with: {part: "${{ part }}", place: new}
        on_failure:
          permission:
            - partial: {value: null, caveat: A part was not shelved., forbid: [stock.label]}
    collect: "${{ part }}"
  - id: pause
    wait: 2h
  - id: arrived
    wait: {event: "arrived-${{ intent.shop }}", timeout: 3d}
    on_failure:
      timeout: [{log: {caveat: Nobody said that it arrived.}}]
  - id: label
    do: stock.label
    with: {shop: "${{ intent.shop }}"}
    on_failure:
      policy_error: [{log: {caveat: No label was printed.}}]
  - id: result
    return: {shop: "${{ intent.shop }}", parts: "${{ steps.each.output }}"}
"#,
    ),
    (
        "connectors/stock.yaml",
        r#"schema: harness.connector/v1
name: stock
kind: http
system: stock
auth: {bearer: stock_token}
defaults: {labels: {trust: verified, confidentiality: internal}, clearance: {confidentiality: internal}}
operations:
  level: &level
    effect: read
    summary: Read the level of {/shop}.
    request: {method: GET, path: "/levels/{shop}"}
    input: {type: object, required: [shop], additionalProperties: false, properties: {shop: {type: string}}}
    output: {type: object, required: [level], properties: {level: {type: integer}}}
  old_level:
    effect: read
    summary: Read the old level of {/shop}.
    request: {method: GET, path: "/old/{shop}"}
    input: {type: object, required: [shop], additionalProperties: false, properties: {shop: {type: string}}}
    output: {type: object, required: [level], properties: {level: {type: integer}}}
  find:
    effect: read
    summary: Find bookings of {/part}.
    request: {method: GET, path: "/bookings", query: {part: /part, key: /key}}
    input: {type: object, required: [part, key], additionalProperties: false, properties: {part: {type: string}, key: {type: string}}}
    output: {type: object, required: [bookings], properties: {bookings: {type: array, items: {type: object, required: [id], properties: {id: {type: integer}}}}}}
  quote:
    effect: read
    summary: What booking {/part} would cost.
    request: {method: GET, path: "/quotes/{part}"}
    input: {type: object, required: [part], additionalProperties: false, properties: {part: {type: string}}}
    output: {type: object, required: [price, place], properties: {price: {type: integer}, place: {enum: [old, new]}}}
  book:
    effect: write
    undo: compensate
    retry: probe
    summary: "Book {/count} of {/part}."
    request: {method: POST, path: /bookings, body: {part: /part, count: /count}, external_ref: /id}
    probe: {use: stock.find, with: {part: "${{ args.part }}", key: "${{ key }}"}, happened: /bookings, conclusive_after: 1m}
    preview: {use: stock.quote, with: {part: "${{ args.part }}"}}
    undo_with: {use: stock.unbook, with: {booking: "${{ output.id }}"}}
    input: {type: object, required: [part, count], additionalProperties: false, properties: {part: {type: string}, count: {type: integer}}}
    output: {type: object, required: [id], properties: {id: {type: integer}}}
  unbook:
    effect: write
    retry: keyed
    summary: Cancel booking {/booking}.
    request: {method: DELETE, path: "/bookings/{booking}", idempotency: {header: Idempotency-Key}}
    input: {type: object, required: [booking], additionalProperties: false, properties: {booking: {type: integer}}}
    output: {type: object, required: [ok], properties: {ok: {type: boolean}}}
  shelve:
    effect: write
    undo: restore
    retry: keyed
    summary: "Shelve {/part} at {/place}."
    request: {method: PUT, path: "/shelves/{part}", body: {place: /place}, idempotency: {header: Idempotency-Key}}
    before: {use: stock.quote, with: {part: "${{ args.part }}"}, image: [/place]}
    undo_with: {use: stock.put_back, with: {part: "${{ args.part }}", to: "${{ before.place }}"}}
    input: {type: object, required: [part, place], additionalProperties: false, properties: {part: {type: string}, place: {enum: [old, new]}}}
    output: {type: object, required: [place], properties: {place: {type: string}}}
  put_back:
    effect: write
    retry: keyed
    summary: "Put {/part} back to {/to}."
    request: {method: PUT, path: "/shelves/{part}/back", body: {to: /to}, idempotency: {header: Idempotency-Key}}
    input: {type: object, required: [part, to], additionalProperties: false, properties: {part: {type: string}, to: {enum: [old, new]}}}
    output: {type: object, required: [place], properties: {place: {type: string}}}
  label:
    effect: write
    summary: Print a label for {/shop}.
    request: {method: POST, path: "/labels/{shop}"}
    input: {type: object, required: [shop], additionalProperties: false, properties: {shop: {type: string}}}
    output: {type: object, required: [ok], properties: {ok: {type: boolean}}}
"#,
    ),
    (
        "policies/all.cedar",
        r#"@id("all.it")
@reason("Everything; the operator's layer asks.")
permit (principal, action, resource);
"#,
    ),
];

fn wide() -> Desk {
    let desk = Desk::new();
    std::fs::remove_dir_all(desk.pack()).unwrap();
    for (name, text) in FILES {
        let path = desk.pack().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace("&level", "")).unwrap();
    }
    desk
}

#[test]
fn everything_a_playbook_can_do_is_reached_and_passes() {
    let tested = wide().test(&[]).exits(0).document();
    assert_eq!(tested["unreached"], serde_json::json!([]), "{tested:#}");
    let played = cells(&tested, "ok");
    for cell in [
        "level:fail",
        "how_many:expire",
        "each[]/book:again",
        "each[]/book:crash",
        "each[]/book:undo",
        "each[]/book:restore",
        "each[]/shelve:restore",
        "each[]/shelve:undo",
        "arrived:expire",
        "label:refuse",
        "label:again",
    ] {
        assert!(played.contains(&cell.to_owned()), "{cell}: {played:?}");
    }
}

#[test]
fn an_undo_by_another_operation_that_puts_back_the_wrong_thing_is_red() {
    let desk = wide().with("connectors/stock.yaml", "to: \"${{ before.place }}\"", "to: new");
    let (red, document) = desk.red();
    assert!(red.contains(&"each[]/shelve:restore".to_owned()), "{red:?}");
    says(&document, &["differs at /place"]);
}

#[test]
fn an_inverse_that_is_not_of_this_effect_is_red() {
    let desk = wide().with("connectors/stock.yaml", "booking: \"${{ output.id }}\"", "booking: 1");
    let (red, document) = desk.red();
    assert!(red.contains(&"each[]/book:restore".to_owned()), "{red:?}");
    says(
        &document,
        &["nothing took `each[]/book` back as it was done", "rolled back while stock.book"],
    );
}
