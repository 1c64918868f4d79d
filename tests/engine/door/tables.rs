//! Tables as files of a form: what is passed over and what is told.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::{Door, SECRET};

#[test]
fn blank_rows_are_passed_over_and_counted() {
    let door = Door::open(&[]);
    let spec = json!({"task": "Sort", "stages": crate::flows::stages(1)});
    let table = "id,text,,\nA-1,I was charged twice,,\n,,,\nA-2,The app crashes,,\n,,,\n , ,,\n";
    let body = format!(
        "--x\r\ncontent-disposition: form-data; name=\"spec\"\r\n\r\n{spec}\r\n--x\r\n\
         content-disposition: form-data; name=\"input\"\r\ncontent-type: text/csv\r\n\r\n{table}\r\n--x--\r\n"
    );
    let request = Request::builder()
        .method("POST")
        .uri("/v1/jobs")
        .header("authorization", format!("Bearer {SECRET}"))
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::from(body));
    let job = door.send(request.unwrap()).expect(202).json();
    let items = json!({"total": 2, "covered": 0, "missing": 2, "blank_rows": 3});
    assert_eq!(job["progress"]["items"], items);
    let id = job["id"].as_str().unwrap();
    door.finish(id);
    let report = door
        .get(SECRET, &format!("/v1/jobs/{id}/report"))
        .expect(200)
        .json();
    assert_eq!(report["coverage"]["covered"], 2);
    assert_eq!(report["coverage"]["blank_rows"], 3);
}
